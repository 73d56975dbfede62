"""Probes: a new part needs its class and a probe; what cannot be read becomes a note, unless the part is vital."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pytest
from msgspec import Struct

from halfopen.core.errors import HalfopenError, Unsupported
from halfopen.core.sample import LISTENER, Requests
from halfopen.read import head, procfs, reader
from halfopen.read.probe import Draft, Probe


class Made(Struct, frozen=True):
    """A part that no other file knows of."""

    drops: int


@pytest.fixture(autouse=True)
def _nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        head, "begin", lambda way, old: Draft(way, "diag", np.empty(0, dtype=LISTENER), None, (1.0, 2.0))
    )
    monkeypatch.setattr(procfs, "counters", lambda tables: {})
    monkeypatch.setattr(procfs, "settings", dict)


def refused(_: Draft) -> NoReturn:
    raise Unsupported("made", "this kernel shows no drops")


def test_a_part_of_its_own_class_is_found_by_it() -> None:
    prepared: list[str] = []
    probe = Probe("drops", ("made",), lambda _: Made(3), prepare=prepared.append)
    sample = reader.read(None, [probe], with_owners=False)
    assert sample.part(Made) == Made(3)
    assert sample.part(Requests) is None
    assert sample.depths
    assert prepared == ["auto"]
    assert sample.bare().part(Made) is None
    assert sample.part(Made) is not None


def test_what_could_not_be_read_is_told_and_the_rest_is_there() -> None:
    sample = reader.read(None, [Probe("drops", ("made",), refused), Probe("more", (), lambda _: Requests())])
    assert sample.part(Made) is None
    assert sample.part(Requests) is not None
    assert sample.completeness.notes == ("drops: not read (made): this kernel shows no drops",)


def test_without_a_vital_part_there_is_no_sample() -> None:
    with pytest.raises(HalfopenError, match="shows no drops"):
        reader.read(None, [Probe("drops", ("made",), refused, vital=True)])


def test_a_probe_corrects_the_head() -> None:
    def told(draft: Draft) -> Made:
        draft.problems.append("half of it")
        draft.interrupted = True
        draft.looked_at = 5.0, 6.0
        return Made(0)

    sample = reader.read(None, [Probe("drops", (), told)])
    assert (sample.monotonic_s, sample.wall_s) == (5.0, 6.0)
    assert sample.completeness.problems[0] == "half of it"
    assert len(sample.completeness.problems) == 2
    assert not sample.completeness.whole
