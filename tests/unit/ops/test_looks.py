"""Two looks: at what, and how far apart."""

from __future__ import annotations

import errno
import time
from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError, KernelError, UnknownTarget
from halfopen.core.model.model import Model, build
from halfopen.core.sample.before_tcp import BeforeTcp, Received, Softnet
from halfopen.ops import looks as ops_looks
from halfopen.ops.looks import looks
from rows import listener, sample
from verdicts import silent


class Stop(Exception):
    """Ends the looks where they would wait."""


def quiet() -> Model:
    return build(sample([], [listener()]))


def busy() -> Model:
    return build(sample(silent(200), [listener()]))


def waits(models: list[Model], **options: Any) -> float | None:
    """How long the looks at these would wait; None: not at all."""
    asked: list[float] = []

    def pause(seconds: float) -> None:
        asked.append(seconds)
        raise Stop

    try:
        found = looks(lambda: models, pause=pause, **options)
    except Stop:
        return asked[0]
    assert [(one.now, one.before, one.interval_s) for one in found] == [(model, None, None) for model in models]
    return None


def test_nobody_waits_where_there_is_nothing_to_judge() -> None:
    assert waits([quiet(), quiet()]) is None


def test_nobody_waits_who_asks_for_one_look() -> None:
    assert waits([busy()], instant=True) is None


@pytest.mark.parametrize("models", [[busy()], [quiet(), busy()]])
def test_something_to_judge_is_looked_at_twice(models: list[Model]) -> None:
    assert waits(models) == 0.5


@pytest.mark.parametrize(
    ("received", "of_the_cpus", "seconds"),
    [
        (Received("eth0", 20_000, 0, 833), 833, 1.0),
        (Received("eth0", 20_000, 833, 0), 0, 1.0),
        (Received("eth0", 20_000, 0, 833), 0, None),  # frames that nobody here wants
        (Received("eth0", 20_000_000, 0, 833), 833, None),  # one in 24,000
    ],
)
def test_queues_that_drop_in_bursts_are_looked_at_twice(
    received: Received, of_the_cpus: int, seconds: float | None
) -> None:
    part = BeforeTcp(time.monotonic(), cpus=(Softnet(10**6, of_the_cpus, 0),), devices=(received,))
    model = build(replace(sample([], [listener()]), parts=(part,)))
    assert waits([model]) == seconds


@pytest.mark.parametrize(("drops", "seconds"), [(20, 1.0), (9, None), (200, 1.0)])
def test_syns_that_were_dropped_often_are_looked_at_twice(drops: int, seconds: float | None) -> None:
    counters = {"PassiveOpens": 1000, "ListenDrops": drops}
    assert waits([build(sample([], [listener()], counters=counters))] * 20) == seconds


def test_a_deep_look_is_taken_twice_at_anything() -> None:
    assert waits([quiet()], deep=True) == 0.5


def test_the_interval_is_the_callers() -> None:
    assert waits([busy()], interval_s=5.0) == 5.0


def test_cookies_that_nobody_sends_back_are_worth_another_look() -> None:
    sent = {"SyncookiesSent": 900, "SyncookiesRecv": 0}
    assert waits([build(sample([], [listener()], settings={"tcp_syncookies": 2}, counters=sent))]) == 1.0
    assert waits([build(sample([], [listener()], counters=sent))]) is None


def test_what_only_resets_is_counted_for_longer() -> None:
    reset = build(sample([], [listener()], counters={"EmbryonicRsts": 90, "PassiveOpens": 100}))
    usual = build(sample([], [listener()], counters={"EmbryonicRsts": 90, "PassiveOpens": 10_000}))
    assert waits([reset]) == 1.0
    assert waits([usual]) is None
    assert waits([usual], deep=True, interval_s=5.0) == 5.0


@pytest.mark.parametrize(("took_s", "once"), [(2.0, True), (0.2, False)])
def test_where_connections_take_long_to_read_they_are_read_once_and_it_says_so(
    took_s: float, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that programs take to load, on a busy machine, tells nothing of it."""
    counted = ops_looks._Counted(time.monotonic(), {"ListenDrops": 3}, BeforeTcp(1.0))
    monkeypatch.setattr(ops_looks, "_counters", lambda *args: replace(counted, at=time.monotonic()))
    model = busy()
    [part] = model.sample.parts
    read = replace(model, sample=replace(model.sample, parts=(replace(part, took_s=took_s),)))  # type: ignore[type-var]
    [seen] = looks(lambda: [read], way="diag", pause=lambda seconds: None)
    told = [note for note in seen.now.sample.completeness.notes if "looked at once, which took 2.0 s" in note]
    assert (bool(told), seen.now.rates is not None) == (once, once)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            KernelError("reading", errno.EMFILE),
            ["there was only one look, because the second failed: reading failed: EMFILE"],
        ),
        (UnknownTarget("gone"), []),
    ],
    ids=["too few descriptors", "gone"],
)
def test_a_second_look_that_fails_is_told(
    error: HalfopenError, says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(ops_looks.reader, "read", read)
    [seen] = looks(lambda: [busy()], way="diag", pause=lambda seconds: None)
    assert (seen.before, list(seen.now.sample.completeness.notes)) == (None, says)


def test_too_few_descriptors_come_with_what_to_do() -> None:
    assert KernelError("reading", errno.EMFILE).line() == "reading failed: EMFILE; raise the limit (ulimit -n)"
