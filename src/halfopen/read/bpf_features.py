"""Feature probes of eBPF: what the programs need, and each program, really loaded and attached."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import Unsupported
from halfopen.core.features import EBPF, Feature, Grant, Outcome
from halfopen.linux import kernel_release, small_files
from halfopen.linux.bpf import libbpf
from halfopen.linux.bpf.bpf_object import BTF
from halfopen.read.features import NEWER_KERNEL, switched_off, tried

_JIT: Final = "/proc/sys/net/core/bpf_jit_enable"


class BpfProgram(Struct, frozen=True):
    """An eBPF object. where: the class that loads and attaches it, as `module:Class`.

    needs: capabilities. since: the version of Linux that first has what the program uses; (0, 0): not known by version.
    parts: optional programs as (name, purpose, since); the class lists those that did not load in `refused`.
    """

    name: str
    where: str
    purpose: str
    needs: tuple[str, ...] = ("CAP_BPF", "CAP_PERFMON")
    parts: tuple[tuple[str, str, tuple[int, int]], ...] = ()
    since: tuple[int, int] = (0, 0)


# Commit fec56f5890d9 ("bpf: Introduce BPF trampoline").
_TRAMPOLINES: Final = (5, 5)
# Commit af6eea57437a ("bpf: Implement bpf_link-based cgroup BPF program attachment").
CGROUP_LINK: Final = (5, 7)
# Commit 52d87d5f6418 ("net: bpf: Implement bpf iterator for tcp").
_ITER_TCP: Final = (5, 9)
# Commit a35b9af4ec2c ("bpf: Add a kfunc for generic type cast").
_RDONLY_CAST: Final = (6, 2)

PROGRAMS: Final = (
    BpfProgram("pulse", "halfopen.read.bpf.pulse:Pulse", "the true SYN queue of each listener", since=_ITER_TCP),
    BpfProgram(
        "walk",
        "halfopen.read.bpf.walk:WalkCensus",
        "exact ages of half-open connections, read without the kernel's locks",
        since=_RDONLY_CAST,
    ),
    BpfProgram(
        "census",
        "halfopen.read.bpf.census:IterCensus",
        "the same by the kernel's iterator, where the walk is refused",
        since=_ITER_TCP,
    ),
    BpfProgram(
        "owners",
        "halfopen.read.bpf.owners:Owners",
        "naming the programs that hold sockets, on machines with many open files",
        since=(5, 8),  # commit eaaacd23910f ("bpf: Add task and task/file iterator targets")
    ),
    BpfProgram(
        "closing",
        "halfopen.read.bpf.closing:SocketWalk",
        "connections that are open or closing, read without the kernel's locks",
        since=_RDONLY_CAST,
    ),
    BpfProgram(
        "closing_iter",
        "halfopen.read.bpf.closing:SocketIterator",
        "the same by the kernel's iterator, where the walk is refused",
        since=_ITER_TCP,
    ),
    BpfProgram(
        "arrivals",
        "halfopen.read.bpf.arrivals:ArrivalPrograms",
        "telling which sources finish handshakes and which retransmit their SYN, between the two looks of status",
        since=CGROUP_LINK,
    ),
    BpfProgram(
        "handshakes",
        "halfopen.read.bpf.handshakes:HandshakePrograms",
        "how long completed handshakes take",
        parts=(
            ("arrived", "arrivals of half-open connections, counted", _TRAMPOLINES),
            # Its function came with a bug fix that was backported widely, so the version says nothing.
            ("given_up", "half-open connections that the kernel gave up, counted", (0, 0)),
            ("cookies", "distinguishing handshakes by SYN cookie from others", _TRAMPOLINES),
        ),
        since=_TRAMPOLINES,
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

    whole = _dated(tried(f"{EBPF}{program.name}", program.purpose, work, program.needs), program.since)
    yield whole
    for name, purpose, since in program.parts:
        id = f"{EBPF}{program.name}.{name}"
        if whole.outcome is not Outcome.YES:
            yield Feature(id, purpose, whole.outcome, f"the eBPF program {program.name} does not load", program.needs)
        elif name in refused:
            grant = _part(f"{program.name}.{name}", since)
            yield Feature(id, purpose, Outcome.NO, refused[name], program.needs, (grant,))
        else:
            yield Feature(id, purpose, Outcome.YES, needs=program.needs)


def _dated(feature: Feature, since: tuple[int, int]) -> Feature:
    """The feature; if the running kernel is older than `since`, with that version as the grant."""
    if feature.grants != (NEWER_KERNEL,) or kernel_release.running() >= since:
        return feature
    return replace(feature, grants=(_linux(since),))


def _linux(version: tuple[int, int]) -> Grant:
    return Grant("kernel", "Linux {}.{}".format(*version))


def _part(name: str, since: tuple[int, int]) -> Grant:
    """The grant for an optional program, when the required programs of its object do load."""
    if (off := switched_off(name)) is not None:
        return off
    if kernel_release.running() < since:
        return _linux(since)
    return Grant("host", "a kernel and host that let eBPF programs hook this function")
