"""Detection, as transcripts of a listener read once a second, and what holds of any traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from examples import examples
from halfopen.core.policy.counts import Flow, ListenerCounts
from halfopen.core.policy.detection import Because, Judgement, Sensitivity, Watcher, step
from halfopen.core.policy.stages import AlarmStage, Signal, StageTold

QUICK = examples(100)


class Second(Struct, frozen=True):
    """What is read at a second: who waits, unanswered for over a second, and what finished since the last."""

    waiting: int = 0
    unanswered: int = 0
    finished: int = 0
    cookies: int = 0
    silent: int = 0
    turned_away: int = 0
    accept_full: bool = False
    syn_full: bool = False
    critical: bool = False


def replay(
    seconds: Iterable[Second], *, cap: int = 4096, interval_s: float = 1.0, s: Sensitivity | None = None
) -> list[tuple[Watcher, Judgement]]:
    watcher, flow, before_s, found = Watcher(), None, None, []
    for i, one in enumerate(seconds):
        at_s = 100.0 + i * interval_s
        flow = Flow(at_s, at_s) if flow is None else flow.after(at_s, one.finished, 63.0)
        counts = ListenerCounts(
            *(one.waiting, one.unanswered, cap, 63.0, one.cookies, one.silent, one.turned_away),
            *(one.accept_full, one.syn_full, one.critical),
        )
        again = step(watcher, counts, flow, before_s, s or Sensitivity())
        watcher, judged = step(watcher, counts, flow, before_s, s or Sensitivity())
        assert again == (watcher, judged)  # no memory but the state
        before_s = at_s
        found.append((watcher, judged))
    return found


def told(seconds: Iterable[Second], **how: object) -> list[str]:
    found = replay(seconds, **how)  # type: ignore[arg-type]
    return [f"{i} {judged.told.value}" for i, (_, judged) in enumerate(found) if judged.told is not StageTold.NOTHING]


def flood(rate: int, seconds: int, *, clients: int = 200, first: int = 0, cap: int = 4096) -> list[Second]:
    """A flood that begins just after a reading, amid clients of whom 8 % are under way at any moment."""
    found = [Second(clients * 8 // 100, 0, clients)] * first
    for i in range(1, seconds + 1):
        held = min(cap, rate * min(i, 63))
        old = min(held, rate * min(i - 1, 62))
        found.append(Second(clients * 8 // 100 + held, old, clients))
    return found


HONEST = Second(16, 3, 200)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ([Second()] * 60, []),
        ([HONEST] * 300, []),
        ([HONEST] * 60 + [Second(80, 14, 1000)] * 180 + [HONEST] * 60, []),  # a crowd five times as large
        ([Second(49, 49, 0)] * 60, []),  # few
        ([Second(700, 0, 0)], []),  # at the first reading nobody knows what arrives
        (flood(50, 30, first=60), ["61 rising", "62 alarm"]),
        (flood(500, 30, first=60), ["61 alarm"]),
        (flood(500, 30, clients=0), ["2 alarm"]),
        # It was there before the watch.
        ([Second(1016, 1000, 200)] * 30, ["2 alarm"]),
        # Cookies while the queue is full: the number stands still, and the alarm stays.
        (flood(2000, 3, first=60) + [Second(4096, 2096, 200, 2200, 2000)] * 600, ["61 alarm"]),
    ],
)
def test_transcripts(seconds: list[Second], said: list[str]) -> None:
    assert told(seconds) == said


def test_an_alarm_ends_soon_after_the_last_cookie() -> None:
    """A cookie takes no room: what nobody sent back of a flood that is over keeps nobody out."""
    beaten = [Second(4096, 2096, 200, 50_000, 50_000)] * 20
    said = told(flood(2000, 3, first=60) + beaten + [Second(16, 3, 200)] * 60)
    assert said[0] == "61 alarm"
    assert len(said) == 2
    at, what = said[1].split()
    assert (what, 83 < int(at) <= 83 + 16) == ("clear", True)


def test_a_slow_flood_is_found_by_its_share_of_the_arrivals_of_a_release_time() -> None:
    found = replay([HONEST] * 120 + flood(5, 63))
    [at] = [i for i, (_, judged) in enumerate(found) if judged.told is StageTold.ALARM]
    judged = found[at][1]
    assert 120 + 15 < at < 120 + 45
    assert judged.because is Because.UNANSWERED
    assert judged.unanswered >= judged.limit > judged.usual
    assert 0.005 <= judged.share < 0.02


@pytest.mark.parametrize(
    ("one", "because"),
    [
        (Second(syn_full=True, waiting=128), Because.SYN_QUEUE),
        (Second(accept_full=True), Because.ACCEPT_QUEUE),
        (Second(critical=True), Because.VERDICT),
    ],
)
def test_consequences_alarm_at_the_very_first_reading(one: Second, because: Because) -> None:
    [(_, judged)] = replay([one])
    assert (judged.told, judged.because) == (StageTold.ALARM, because)


@pytest.mark.parametrize(
    ("seconds", "because"),
    [
        ([Second(turned_away=1), Second(turned_away=2)], Because.DROPS),
        ([Second(cookies=3, silent=0)], Because.COOKIES),
        ([Second(accept_full=True)] * 2, Because.ACCEPT_QUEUE),
        ([Second(critical=True)] * 2, Because.VERDICT),
    ],
)
def test_consequences_alarm_when_they_last(seconds: list[Second], because: Because) -> None:
    found = replay([HONEST] * 10 + [replace(one, waiting=16, finished=200) for one in seconds])
    assert [judged.told for _, judged in found[:-1] if judged.told is StageTold.ALARM] == []
    assert (found[-1][1].told, found[-1][1].because) == (StageTold.ALARM, because)


@pytest.mark.parametrize(
    ("one", "passes"), [(Second(turned_away=2), 16), (Second(accept_full=True), 14), (Second(critical=True), 14)]
)
def test_a_consequence_of_a_moment_is_no_alarm(one: Second, passes: int) -> None:
    seconds = [HONEST] * 10 + [replace(one, waiting=16, finished=200)] + [HONEST] * 10
    assert told(seconds) == ["10 rising", f"{passes} passed"]


def test_cookies_that_come_back_are_no_flood_where_every_syn_is_answered_by_one() -> None:
    """tcp_syncookies 2: no request waits, and only cookies that nobody sends back tell."""
    honest = [Second(0, 0, 200, 0, silent) for silent in (5, -4, 0, 3, -2)] * 60
    assert told(honest) == []
    flooded = [Second(0, 0, 200, 0, 300)] * 10
    [alarm] = [line for line in told(honest + flooded) if "alarm" in line]
    assert int(alarm.split()[0]) - len(honest) <= 3


def test_an_attack_is_not_learned() -> None:
    before, after = replay([HONEST] * 600)[-1][0], replay([HONEST] * 600 + flood(100, 600))[-1][0]
    assert after.usual == pytest.approx(before.usual, rel=0.02)
    assert after.standing.stage is AlarmStage.INCIDENT


def test_what_honest_clients_leave_unanswered_is_learned() -> None:
    usual = replay([Second(40, 35, 200)] * 7200)[-1][0].usual
    assert usual == pytest.approx(35 / (63 * 200 + 40), rel=0.1)


def test_a_listener_that_was_left_out_was_empty() -> None:
    flow, watcher = Flow(0.0, 0.0), Watcher()
    for second in range(1, 100):
        flow = flow.after(float(second), 200, 63.0)
    watcher, judged = step(watcher, ListenerCounts(300, 0, 4096), flow, 98.0)
    assert (judged.signal, judged.look_again) == (Signal.CALM, True)
    assert watcher.points[0].at_s == 98.0


def test_a_closer_look_tells_a_flood_from_the_start_of_a_crowd() -> None:
    base = Flow(0.0, 0.0)
    for second in range(1, 100):
        base = base.after(float(second), 200, 63.0)
    watcher, _ = step(Watcher(), ListenerCounts(16, 0, 4096), base, 98.0)
    flow = base.after(100.0, 200, 63.0)
    watcher, judged = step(watcher, ListenerCounts(86, 0, 4096), flow, 99.0)
    assert judged.look_again
    crowd = step(watcher, ListenerCounts(90, 0, 4096), flow.after(100.25, 250, 63.0), 100.0)[1]
    flooded = step(watcher, ListenerCounts(186, 0, 4096), flow.after(100.25, 50, 63.0), 100.0)[1]
    assert (crowd.told, flooded.told) == (StageTold.NOTHING, StageTold.RISING)


@QUICK
@given(
    st.lists(st.integers(0, 2000), min_size=5, max_size=120),
    st.floats(0, 0.1),
    st.integers(0, 4),
)
def test_no_alarm_while_completions_keep_up(rates: list[int], under_way: float, lost: int) -> None:
    """Whatever the rate does from second to second: handshakes of a tenth of a second, a few lost, all finish."""
    seconds = []
    for rate in rates:
        waiting = int(rate * under_way)
        seconds.append(Second(waiting + lost, lost, rate))
    assert [line for line in told(seconds) if "alarm" in line] == []


@QUICK
@given(
    st.floats(0.05, 5.0),
    st.integers(0, 400),
    st.sampled_from([1024, 4096, 16384]),
    st.integers(0, 30),
)
def test_any_flood_above_five_percent_of_the_queue_is_found(share: float, clients: int, cap: int, first: int) -> None:
    """share: of the queue that it would hold. At most fifty clients are served for each of its SYNs."""
    rate = share * cap / 63
    clients = min(clients, int(rate * 50))
    seconds = [Second(clients * 8 // 100, 0, clients)] * first
    for i in range(1, 90):
        held = min(cap, int(rate * min(i, 63)))
        over = int(rate) if held == cap else 0
        old = min(held, int(rate * min(i - 1, 62)))
        seconds.append(Second(clients * 8 // 100 + held, old, clients, over, over))
    assert any("alarm" in line for line in told(seconds, cap=cap))


@QUICK
@given(st.lists(st.builds(Second, st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999)), max_size=40))
def test_what_is_said_of_any_reading(seconds: Sequence[Second]) -> None:
    s = Sensitivity(minimum=100)
    for watcher, judged in replay([replace(x, unanswered=min(x.waiting, x.unanswered)) for x in seconds], s=s):
        assert judged.limit >= 100
        assert 0 <= judged.share <= 1
        assert (judged.because is not Because.NOTHING) == (judged.signal >= Signal.SIGNS)
        assert 0 < watcher.usual <= 0.2
        assert len(watcher.points) <= 6
