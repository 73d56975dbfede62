"""The lines of `protect`."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.policy.actions import GuardWithheld, Protect, Protected, Withholding
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.sample.guard import PASSED, GuardCounts
from halfopen.core.where import Namespace
from halfopen.present import protect
from halfopen.present.language import spoken

ACTION = Protect(Namespace("b", 1), ((None, 443),), "test", for_s=600.0)
COUNTS = GuardCounts(syns=1000, answered=900, accepted=40, passed=(90, 10, *[0] * (len(PASSED) - 2)))


def test_the_beginning() -> None:
    said = list(protect.begun(Protected(ACTION, (":443", ":80", ":81", ":82"), GuardCounts(), notes=("a note",))))
    assert said == [
        "guarding :443, :80, :81 and 1 more listener for 10 min: SYNs are answered without keeping state, while a SYN "
        "queue is 25% full or more",
        "a note",
    ]


def test_a_second() -> None:
    reading = GuardReading(0.0, 2.0, COUNTS, COUNTS, 50)
    assert protect.header() == "TIME         SYNS/S  ANSWERED/S  LET IN/S  CONNECTED/S  US A SYN"
    assert protect.line(reading)[8:] == "        500         450        20           25         -"
    odd = GuardCounts(bad=32, again=2, capped=5, timed=1, timed_ns=840)
    assert protect.line(GuardReading(0.0, 1.0, odd, odd)).endswith(
        "-      0.84  forged ACKs about 32  came again 2  capped 5"
    )
    many = GuardCounts(syns=1_234_567, answered=1_234_567, accepted=12_345, timed=1, timed_ns=840)
    assert len(protect.line(GuardReading(0.0, 1.0, many, many, 12_345))) == len(protect.header()) <= 80


def test_the_end() -> None:
    outcome = Protected(ACTION, (":443",), COUNTS, "time", completions=44, seconds=600.0)
    assert list(protect.ended(outcome)) == [
        "the guard is off after 10 min: its time was up",
        "1,000 SYNs came to :443: 900 answered by the guard, 100 left to the kernel (the queue had room: 90, "
        "the guard had stopped answering: 10)",
        "40 clients let in by the guard; 44 handshakes finished in all",
    ]


def test_every_reason_has_words() -> None:
    assert set(protect.why_passed()) == set(PASSED)


def test_what_a_watch_says_of_its_guard() -> None:
    action = replace(ACTION, reason="policy protect: always", policy="protect")
    assert (
        protect.guard_line(Protected(action, (":443",), GuardCounts()))
        == "guard armed for :443: policy protect: always"
    )
    off = Protected(action, (":443",), COUNTS, "stopped", seconds=61.0, why="the incident is over")
    assert protect.guard_line(off) == (
        "guard for :443 off after 61 s, the incident is over: 1,000 SYNs, 900 answered, 40 clients let in"
    )
    with spoken("zh"):
        said = protect.guard_line(off)
    assert said.startswith(":443 的防护运行 61 秒后已撤除")
    assert "事件已结束" in said
    futile = replace(off, ended="futile", why="")
    assert "a firewall drops their ACKs" in protect.guard_line(futile)


def test_what_a_watch_says_of_a_guard_that_it_does_not_arm() -> None:
    action = replace(ACTION, reason="policy protect: spoofed-flood, SYN queue 90% full at port 443", policy="protect")
    assert protect.guard_withheld_line(GuardWithheld(action, Withholding.OBSERVES)) == (
        "policy protect would arm a guard for :443 (spoofed-flood, SYN queue 90% full at port 443); it only observes"
    )
    forbidden = GuardWithheld(action, Withholding.FORBIDDEN, "app-not-accepting")
    assert protect.guard_withheld_line(forbidden) == (
        "policy protect arms no guard for :443: app-not-accepting forbids it"
    )


def test_when_it_ends_it_says_what_it_waits_for() -> None:
    said = protect.ending(3.0)
    assert said == "no SYN is answered any more; clients that were answered may finish for 3 s"
