"""Who finishes is counted while something is undecided, one namespace at a time, with pauses, and not where eBPF is
refused."""

from __future__ import annotations

import pytest

from halfopen.core.errors import Unsupported
from halfopen.ops.watch import counting
from halfopen.ops.watch.counting import Counting


class Programs:
    """Stands for the loaded programs; knows which are attached."""

    attached: list[int] = []  # noqa: RUF012

    def __init__(self, inode: int) -> None:
        if inode == 13:
            raise Unsupported("bpf", "refused")
        self.inode = inode
        self.attached.append(inode)

    def close(self) -> None:
        self.attached.remove(self.inode)


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(counting, "ArrivalPrograms", Programs)
    Programs.attached = []
    return Programs.attached


def test_it_counts_until_a_cause_is_found_and_again_after_a_pause(attached: list[int]) -> None:
    one = Counting()
    one.after(7, 0.0, busy=False, alarmed=False, decided=None)
    assert attached == []
    one.after(7, 1.0, busy=True, alarmed=True, decided=None)
    assert (attached, len(one.probes(7)), one.probes(8)) == ([7], 2, [])
    assert (one.active(7), one.active(8)) == (True, False)
    one.after(7, 2.0, busy=True, alarmed=True, decided=False)
    assert attached == [7]
    one.after(7, 3.0, busy=True, alarmed=True, decided=True)
    assert (attached, one.probes(7)) == ([], [])
    one.after(7, 12.0, busy=True, alarmed=True, decided=None)
    assert attached == []
    one.after(7, 13.0, busy=True, alarmed=True, decided=None)
    assert attached == [7]
    one.after(7, 34.0, busy=True, alarmed=True, decided=False)  # a cause that is not to be found
    assert attached == []
    one.after(7, 45.0, busy=False, alarmed=False, decided=None)
    assert attached == []


def test_without_an_alarm_it_counts_seldom_and_begins_at_once_when_one_comes(attached: list[int]) -> None:
    one = Counting()
    one.after(7, 0.0, busy=True, alarmed=False, decided=None)
    one.after(7, 1.0, busy=True, alarmed=False, decided=True)
    assert attached == []
    one.after(7, 40.0, busy=True, alarmed=False, decided=None)
    assert attached == []
    one.after(7, 41.0, busy=True, alarmed=True, decided=None)
    assert attached == [7]


def test_one_namespace_at_a_time(attached: list[int]) -> None:
    one = Counting()
    one.after(7, 0.0, busy=True, alarmed=True, decided=None)
    one.after(8, 0.0, busy=True, alarmed=True, decided=None)
    assert attached == [7]
    one.forget(7)
    one.after(8, 1.0, busy=True, alarmed=True, decided=None)
    assert attached == [8]
    one.close()
    assert attached == []


def test_where_it_is_refused_it_is_not_tried_again(attached: list[int]) -> None:
    one = Counting()
    one.after(13, 0.0, busy=True, alarmed=True, decided=None)
    assert not one.possible
    one.after(7, 100.0, busy=True, alarmed=True, decided=None)
    assert (attached, one.probes(13)) == ([], [])
