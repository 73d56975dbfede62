"""The lines of `protect`."""

from __future__ import annotations

from halfopen.core.policy.actions import Protect, Protected
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.sample.guard import PASSED, GuardCounts
from halfopen.core.where import Namespace
from halfopen.present import protect

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
        "1,000 SYNs came to :443: 900 answered by the guard, 100 left to the kernel (the queue had room 90, the guard "
        "had stopped 10)",
        "40 clients let in by the guard; 44 handshakes finished in all",
    ]


def test_every_reason_has_words() -> None:
    assert set(protect.why_passed()) == set(PASSED)
