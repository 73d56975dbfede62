"""Which Linux has what an eBPF program uses, where the running one is older."""

from __future__ import annotations

import pytest

from halfopen.core.errors import Unsupported
from halfopen.core.features import Grant, Outcome
from halfopen.linux import kernel_release
from halfopen.ops import doctor
from halfopen.read import bpf_features
from halfopen.read.bpf_features import BpfProgram


class Refused:
    """Does not load."""

    def __init__(self) -> None:
        raise Unsupported("bpf:walk", "this kernel does not take the eBPF program walk")


class Partly:
    """Loads, but for one part."""

    def __init__(self) -> None:
        self.refused = {"arrived": "this kernel does not take it", "given_up": "nor this"}

    def __enter__(self) -> Partly:
        return self

    def __exit__(self, *_: object) -> None:
        pass


PROGRAM = BpfProgram("walk", f"{__name__}:Refused", "exact ages", since=(6, 2))
PARTS = BpfProgram(
    "handshakes",
    f"{__name__}:Partly",
    "handshakes",
    parts=(("arrived", "arrivals", (5, 5)), ("given_up", "given up", (0, 0))),
)


def granted(program: BpfProgram) -> list[Grant]:
    found = list(bpf_features.ebpf([program]))[3:]
    assert any(one.outcome is Outcome.NO for one in found)
    return [grant for one in found for grant in one.grants]


def test_an_older_kernel_is_told_which_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_release, "running", lambda: (6, 1))
    assert granted(PROGRAM) == [Grant("kernel", "Linux 6.2")]


def test_a_kernel_that_is_new_enough_is_not_told_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_release, "running", lambda: (6, 2))
    assert granted(PROGRAM) == [Grant("kernel", "a newer kernel, or one built with it")]


def test_a_part_has_a_version_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_release, "running", lambda: (5, 4))
    hooks = Grant("host", "a kernel and host that let eBPF programs hook this function")
    assert granted(PARTS) == [Grant("kernel", "Linux 5.5"), hooks]


def test_every_program_names_the_kernel_that_has_it() -> None:
    """But for the guard, whose grant names a setting of the kernel besides."""
    assert [one.name for one in doctor.PROGRAMS if one.since == (0, 0)] == ["guard"]
