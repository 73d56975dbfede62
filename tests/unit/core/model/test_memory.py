"""What TCP's memory is made of."""

from __future__ import annotations

import pytest
from msgspec.structs import force_setattr, replace

from connections import aged, evidence, sockets
from halfopen.core.findings.finding import Level
from halfopen.core.findings.judging import judged
from halfopen.core.model.memory import build_memory
from halfopen.core.sample.closing import MINI, TIME_WAIT
from halfopen.core.sample.memory import MemoryReading, Slab
from halfopen.present.findings.sentences import say

READING = MemoryReading(4096, 300, (1000, 2000, 3000), False, 0, 100, 0)


def test_sockets_are_counted_by_what_they_cost() -> None:
    mini = {"state": TIME_WAIT, "flags": MINI, "inode": 0, "pages": 0, "unread": 0}
    part = sockets(*aged([5, 6, 7], unread=100, pages=2), mini, mini, {"inode": 0})
    slabs = {"tw_sock_TCP": Slab("tw_sock_TCP", 2, 248, 4096)}
    model = build_memory(replace(READING, slabs=slabs), part, 10, 1)
    assert {use.what.partition(" ")[0]: (use.count, use.pages) for use in model.uses} == {
        "listeners": (1, None),
        "half-open": (10, None),
        "held": (3, 6),
        "not": (1, 1),
        "minisockets": (2, None),
    }
    assert model.uses[-1].slab_bytes == 2 * 248
    [java] = model.by_process
    assert (java.pid, java.count, java.pages, java.unread_bytes) == (4711, 3, 6, 300)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"pages": 1700}, {"memory-pressure": Level.WARNING}),
        ({"pressed": True}, {"memory-pressure": Level.CRITICAL}),
        ({"pages": 2500}, {"memory-pressure": Level.CRITICAL}),
        ({"orphans": 60}, {"orphans-near-limit": Level.WARNING}),
        ({"orphans": 90}, {"orphans-near-limit": Level.CRITICAL}),
    ],
)
def test_limits(change: dict[str, int], expected: dict[str, Level]) -> None:
    e = evidence(sockets())
    force_setattr(e, "now", replace(e.now, sample=e.now.sample.with_part(replace(READING, **change))))
    found = judged(e).findings
    assert all(say(one) for one in found)
    assert {one.id: one.level for one in found} == expected
