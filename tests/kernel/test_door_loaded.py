"""A door for many connections is loaded while they are counted, and only one of the right size is used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

import halfopen
from halfopen.change.door import USUAL, Door, hashes
from halfopen.core.sample import REQUEST
from halfopen.linux.bpf import kept
from halfopen.ops.release import doors
from halfopen.read.bpf import programs as eyes

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Door]]:
    """The doors that are loaded, each with the name of the thread that loads it."""
    found: list[tuple[str, Door]] = []
    load = Door.__init__

    def noted(self: Door, *size: int) -> None:
        load(self, *size)
        found.append((threading.current_thread().name, self))

    monkeypatch.setattr(Door, "__init__", noted)
    return found


def is_closed(door: Door) -> bool:
    return door._cgroup < 0


@pytest.mark.parametrize("refused", ["", "naming"])
def test_the_door_for_many_is_loaded_while_they_are_counted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, made: list[tuple[str, Door]], refused: str
) -> None:
    eyes.close()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    lab.client.half_open(lab.server.listen(8080, backlog=200_000), 40_000).settled()
    done = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (done.released, done.held, done.left) == (40_000, True, 0)
    [(thread, large)] = [(thread, door) for thread, door in made if door.capacity > USUAL]
    # For as many as there were, by what the first part of the census held.
    assert thread == "halfopen-door"
    assert 0.8 < large.capacity / 40_000 < 1.2
    assert is_closed(large)
    eyes.close()


@pytest.mark.parametrize(("there", "use"), [(50_000, False), (1000, False), (38_000, True)])
def test_a_door_loaded_for_another_number_is_not_used(made: list[tuple[str, Door]], there: int, use: bool) -> None:
    door = doors.ByCgroup()
    door.expect(36_000)
    rows = np.zeros(there, dtype=REQUEST)
    rows["remote_port"] = rows["remote_v4"] = np.arange(there)
    known = hashes(rows)
    with door.held([known], [rows]):
        assert door.holds(rows).all()
        ahead = next(door for thread, door in made if thread == "halfopen-door")
        assert is_closed(ahead) != use
    assert is_closed(ahead)
    assert not is_closed(kept.get(Door))


def test_a_door_that_is_not_needed_is_let_go_of(made: list[tuple[str, Door]]) -> None:
    door = doors.ByCgroup()
    door.expect(36_000)
    door.close()
    assert [is_closed(one) for thread, one in made if thread == "halfopen-door"] == [True]
