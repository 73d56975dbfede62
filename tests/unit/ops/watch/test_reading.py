"""How a watch reads a namespace: what is alike stays the same object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.sample import QUEUES, Completeness, Process, Sample
from halfopen.linux.netns import current
from halfopen.ops.watch import reading
from halfopen.ops.watch.counting import Counting
from halfopen.ops.watch.reading import NamespaceReader, TimeApart
from halfopen.read import reader
from rows import listener, sample


def read_of(drops: int) -> Sample:
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"] = True
    return sample([], [listener(drops=drops)], queues=queues)


@pytest.mark.parametrize("whole", [False, True])
def test_listeners_that_are_alike_are_held_in_memory_once(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drops = 0

    def read(*args: Any, **options: Any) -> Sample:
        return replace(read_of(drops), parts=()) if "before" in options else read_of(drops)

    monkeypatch.setattr(reader, "read", read)
    looks = NamespaceReader("auto", Counting(False), TimeApart())
    first, _ = looks.read(current(), None, Filter())
    again, _ = looks.read(current(), first, Filter(), whole=whole)
    assert (again.listeners is first.listeners, again.queues is first.queues) == (True, True)
    drops = 1
    other, _ = looks.read(current(), again, Filter(), whole=whole)
    assert (other.listeners["drops"].tolist(), other.queues is first.queues) == ([1], True)


def test_a_search_for_who_listens_that_was_stopped_is_made_again_ever_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, searches, enough = 0.0, [], 3

    def read(*args: Any, with_owners: bool, **options: Any) -> Sample:
        plain = options["before"] if "before" in options else read_of(0)
        if not with_owners:
            return replace(plain, completeness=Completeness("bpf", stopped="before" in options), parts=())
        searches.append(now_s)
        if len(searches) <= enough:
            return replace(plain, completeness=Completeness("bpf", notes=("stopped",), stopped=True))
        return replace(plain, completeness=Completeness("bpf"), owners={1: (Process(1, "nginx"),)})

    monkeypatch.setattr(reader, "read", read)
    monkeypatch.setattr(reading.time, "monotonic", lambda: now_s)
    looks = NamespaceReader("auto", Counting(False), TimeApart())
    found, _ = looks.read(current(), None, Filter())
    while now_s < 60:
        now_s += 1
        found, _ = looks.read(current(), found, Filter(), whole=now_s % 2 == 0)
        assert found.completeness.stopped is (len(searches) <= enough)
    # The first reading after it sets the clock.
    assert searches == [0, 6, 16, 36]
    assert found.owners[1][0].name == "nginx"
