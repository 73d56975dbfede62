"""Feature probes of eBPF: what the programs need, and each program, really loaded and attached."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from halfopen.core.errors import Unsupported
from halfopen.core.features import EBPF, Feature, Grant, Outcome
from halfopen.linux import small_files
from halfopen.linux.bpf import libbpf
from halfopen.linux.bpf.bpf_object import BTF
from halfopen.read.features import switched_off, tried

_JIT: Final = "/proc/sys/net/core/bpf_jit_enable"


@dataclass(frozen=True, slots=True)
class BpfProgram:
    """An eBPF object: where the class that loads and attaches it is, as `module:Class`, and what it needs.

    parts: optional programs as (name, purpose); the class lists those that did not load in `refused`.
    """

    name: str
    where: str
    purpose: str
    needs: tuple[str, ...] = ("CAP_BPF", "CAP_PERFMON")
    parts: tuple[tuple[str, str], ...] = ()


PROGRAMS: Final = (
    BpfProgram("pulse", "halfopen.read.bpf.pulse:Pulse", "the true SYN queue of each listener"),
    BpfProgram(
        "walk",
        "halfopen.read.bpf.walk:WalkCensus",
        "exact ages of half-open connections, read without the kernel's locks",
    ),
    BpfProgram(
        "census",
        "halfopen.read.bpf.census:IterCensus",
        "the same by the kernel's iterator, where the walk is refused",
    ),
    BpfProgram(
        "owners",
        "halfopen.read.bpf.owners:Owners",
        "naming the programs that hold sockets, on machines with many open files",
    ),
    BpfProgram(
        "closing",
        "halfopen.read.bpf.closing:SocketWalk",
        "connections that are open or closing, read without the kernel's locks",
    ),
    BpfProgram(
        "closing_iter",
        "halfopen.read.bpf.closing:SocketIterator",
        "the same by the kernel's iterator, where the walk is refused",
    ),
    BpfProgram(
        "arrivals",
        "halfopen.read.bpf.arrivals:ArrivalPrograms",
        "telling which sources finish handshakes and which retransmit their SYN, between the two looks of status",
    ),
    BpfProgram(
        "handshakes",
        "halfopen.read.bpf.handshakes:HandshakePrograms",
        "how long completed handshakes take",
        parts=(
            ("arrived", "arrivals of half-open connections, counted"),
            ("given_up", "half-open connections that the kernel gave up, counted"),
            ("cookies", "distinguishing handshakes by SYN cookie from others"),
        ),
    ),
)


def ebpf(programs: Iterable[BpfProgram]) -> Iterator[Feature]:
    """The prerequisites of eBPF programs, and each program, loaded, attached and taken off again."""
    yield tried("libbpf", "loading eBPF programs", libbpf.version)
    yield tried("btf", "adapting eBPF programs to this kernel (BTF)", _btf)
    yield _jit()
    for program in programs:
        yield from _program(program)


def _btf() -> str:
    try:
        small_files.must_read(BTF, 1)
    except FileNotFoundError:
        raise Unsupported("btf", f"{BTF} is missing") from None
    return ""


def _jit() -> Feature:
    id, purpose = "bpf_jit", "running eBPF programs as machine code (JIT)"
    try:
        on = small_files.must_read(_JIT).strip() != b"0"
    except FileNotFoundError:
        return Feature(id, purpose, Outcome.UNKNOWN, f"{_JIT} is not shown in this network namespace")
    except OSError as e:
        return Feature(id, purpose, Outcome.UNKNOWN, f"{_JIT}: {e.strerror}")
    if on:
        return Feature(id, purpose, Outcome.YES)
    name = "net.core.bpf_jit_enable = 1"
    grant = Grant("setting", name, "sysctl -w net.core.bpf_jit_enable=1")
    return Feature(id, purpose, Outcome.NO, f"{name[:-1]}0", grants=(grant,))


def _program(program: BpfProgram) -> Iterator[Feature]:
    refused: dict[str, str] = {}

    def work() -> str:
        module, _, kind = program.where.partition(":")
        with getattr(importlib.import_module(module), kind)() as loaded:
            refused.update(getattr(loaded, "refused", {}))
        return ""

    whole = tried(f"{EBPF}{program.name}", program.purpose, work, program.needs)
    yield whole
    for name, purpose in program.parts:
        id = f"{EBPF}{program.name}.{name}"
        if whole.outcome is not Outcome.YES:
            yield Feature(id, purpose, whole.outcome, f"the eBPF program {program.name} does not load", program.needs)
        elif name in refused:
            yield Feature(id, purpose, Outcome.NO, refused[name], program.needs, (_part(f"{program.name}.{name}"),))
        else:
            yield Feature(id, purpose, Outcome.YES, needs=program.needs)


def _part(name: str) -> Grant:
    """The grant for a program of an object whose other programs load."""
    return switched_off(name) or Grant("host", "a kernel and host that let eBPF programs hook this function")
