"""The sink that has receivers told: from reports to a web server, by a face of its own, others after a reload."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bad_http import BadServer
from halfopen.core.config import WatchSettings
from halfopen.core.model.model import Model, build
from halfopen.core.policy.alarms import Alarm, Clear, Telling
from halfopen.core.policy.incidents import Incidents
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Decided, Ended, Reloaded, Report, Round, Trouble
from halfopen.core.sections.notify import NotifySettings
from halfopen.service import face_keeper, notifying
from halfopen.service.notifying import Notifying, spool_path
from notices import receiver
from rows import SELF, listener, request, sample

PATIENCE_S = 20
ALL = Round(frozenset({SELF}), frozenset())


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(face_keeper, "face_user", lambda: None)
    monkeypatch.setattr(notifying, "face_user", lambda: None)


class Reports:
    """What the loop makes of tellings."""

    def __init__(self) -> None:
        self._incidents = Incidents()

    def decided(self, action: Telling, at_s: float) -> Decided:
        now: Model = build(sample([request()], [listener()], wall_s=1e9 + at_s, monotonic_s=at_s))
        return Decided(now, action, None, self._incidents.told(now, action, None))

    def alarm(self, id: str, at_s: float = 0.0) -> Decided:
        return self.decided(Alarm(SELF, None, 60, 50, 90, 1.0, 20.0, "drops", incident=id), at_s)

    def clear(self, id: str, at_s: float) -> Decided:
        return self.decided(Clear(SELF, None, 0, 9.0, 70, incident=id), at_s)


def reloaded(*receivers: NotifySettings) -> Report:
    return Reloaded(1.0, Policy(), WatchSettings(notify=receivers))


def told(server: BadServer) -> list[tuple[str, str, str]]:
    bodies = [(post.path.rpartition("/")[2], json.loads(post.body)["data"]) for post in server.posts]
    return [(path, data["incident"], data["state"]) for path, data in bodies]


def test_from_reports_to_receivers_and_to_others_after_a_reload() -> None:
    with BadServer() as server:
        one, other = (receiver(name=name, url=f"{server.url}/ok/{name}") for name in ("one", "other"))
        sink, reports = Notifying([one], None), Reports()
        for event in (Begun(1.0, Policy()), reports.alarm("a")):
            assert sink.take(event) is None
        until(lambda: told(server) == [("one", "a", "firing")])
        sink.take(reloaded(other))
        sink.take(reports.alarm("b"))
        until(lambda: len(server.posts) == 2)
        assert told(server)[1] == ("other", "b", "firing")
        sink.take(reports.clear("b", 9.0))
        until(lambda: len(server.posts) == 3)
        assert told(server)[2] == ("other", "b", "resolved")
        # Nobody is told any more.
        sink.take(reloaded())
        sink.take(reports.alarm("c", 10.0))
        assert sink.take(Ended(3)) is None
        assert len(server.posts) == 3


def test_receivers_may_come_with_a_reload() -> None:
    with BadServer() as server:
        sink, reports = Notifying([], None), Reports()
        for event in (Begun(1.0, Policy()), reports.alarm("a"), ALL, reloaded(receiver(url=f"{server.url}/500/T0KEN"))):
            assert sink.take(event) is None
        sink.take(reports.alarm("b"))
        troubles: list[Trouble] = []
        until(lambda: troubles.extend([t] if (t := sink.take(ALL)) else []) or troubles)
        sink.take(Ended(3))
        assert troubles[0].about == "notify"
        assert troubles[0].error.line() == f"webhook: {server.url}/***: answered 500 Internal Server Error: why!"


def test_the_spool_of_another_user_is_beside_the_state_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spool_path() == str(tmp_path / "state" / "notify.db")
    user = os.getuid(), os.getgid()
    monkeypatch.setattr(notifying, "face_user", lambda: user)
    for _ in range(2):  # at each start, and at each reload that changes receivers
        assert spool_path() == str(tmp_path / "state-notify" / "notify.db")
    facts = (tmp_path / "state-notify").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (0o700, user[0])
