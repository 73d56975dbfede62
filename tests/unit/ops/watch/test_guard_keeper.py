"""What the keeper of guards keeps of a namespace, with an executor that guards nothing."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, cast

import pytest

from halfopen.core.policy.actions import Protect, Protected
from halfopen.core.policy.guard_policy import GuardState
from halfopen.core.policy.guarding import GuardCounts
from halfopen.core.reports import Trouble
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent
from halfopen.ops.executor import Executor
from halfopen.ops.watch.guard_keeper import GuardKeeper
from peers import until
from rows import named

WEB = named("web")
ACTION = Protect(WEB, ((None, 8080),), "policy protect: always", policy="protect")


class Guarding:
    """An executor whose guard lasts until it is stopped, or ends at once."""

    def __init__(self, lasts: bool) -> None:
        self._lasts = lasts

    def protect(self, action: Protect, ns: Netns, *, stop: StopEvent, why: Callable[[], str], **_: Any) -> Protected:
        until(lambda: not self._lasts or stop.is_set())
        return Protected(action, (":8080",), GuardCounts(), "stopped" if self._lasts else "futile", why=why())


@pytest.mark.parametrize("lasts", [True, False])
def test_nothing_is_kept_of_a_namespace_that_is_gone_once_its_guard_is_off(lasts: bool) -> None:
    keeper = GuardKeeper(cast("Executor", Guarding(lasts)))
    keeper.arm(ACTION, cast("Netns", None))
    if not lasts:
        until(lambda: (one := keeper.standing(WEB)) is not None and one.state is GuardState.OVER)
    keeper.forget(WEB)
    until(lambda: keeper.standing(WEB) is None)
    assert len(list(keeper.news())) == 1
    keeper.close()


def test_a_guard_for_which_no_thread_can_be_had_is_told_and_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = GuardKeeper(cast("Executor", Guarding(True)))

    def no_thread(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", no_thread)
    keeper.arm(ACTION, cast("Netns", None))
    standing = keeper.standing(WEB)
    assert standing is not None
    assert (standing.state, standing.why) == (GuardState.OVER, "failed")
    (news,) = keeper.news()
    assert isinstance(news, Trouble)
    assert "starting a thread" in news.error.line()
    keeper.close()
