"""Cures: actions (`core.policy.actions`) that would help, and places that only a person can look at."""

from __future__ import annotations

from msgspec import Struct

from halfopen.core.policy.actions import Block, ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.policy.connection_actions import ChangeConnections


class LookAtProcess(Struct, frozen=True):
    """Look at a process that does not accept. Changes nothing.

    at: "waits" (where each of its threads waits), "threads" (which of them computes), "stack" (where in the kernel it
    is, which tells something of an uninterruptible process alone) or "others" (which processes take the CPUs).
    """

    pid: int
    reason: str
    at: str = "waits"


class ContinueProcess(Struct, frozen=True):
    """Have a stopped process go on (SIGCONT)."""

    pid: int
    reason: str


class LookAtTracer(Struct, frozen=True):
    """Look at the debugger that stops a process (0: it is out of sight), which alone can have it go on. Changes
    nothing.
    """

    pid: int
    tracer: int
    reason: str


class ThawProcess(Struct, frozen=True):
    """Have a process go on that the freezer of its cgroup stops, by the file of that cgroup; where that is out of sight
    ("") only look which cgroup it is in. container: as its runtime calls it; "" for none.
    """

    pid: int
    file: str
    reason: str
    container: str = ""


class RaiseDescriptors(Struct, frozen=True):
    """Let a running process have this many open files (RLIMIT_NOFILE)."""

    pid: int
    limit: int
    reason: str


class LookAtQuota(Struct, frozen=True):
    """Look at the CPU quota of a cgroup: its directory, and the systemd unit where there is one. Changes nothing."""

    cgroup: str
    unit: str
    reason: str


class LookAtRoute(Struct, frozen=True):
    """Look at the route back to a client (address empty: at all routes). Changes nothing."""

    netns: str
    address: str
    reason: str


class LookAtHost(Struct, frozen=True):
    """Look at what drops packets before TCP. Changes no more than what the kernel logs.

    subject: "reverse-path", "device" (its own queue), "cpu" (the queue of a CPU) or "firewall"; name: of the device.
    """

    netns: str
    subject: str
    name: str
    reason: str


class LookAtPackets(Struct, frozen=True):
    """See whether packets from a prefix ("": from anywhere) to a port (None: to any) arrive. Changes nothing."""

    netns: str
    source: str
    port: int | None
    reason: str


class RaiseOpenFiles(Struct, frozen=True):
    """Let this many files be open on the whole system (fs.file-max)."""

    limit: int
    reason: str


class RaiseConntrack(Struct, frozen=True):
    """Let this many connections be tracked (nf_conntrack_max)."""

    netns: str
    limit: int
    reason: str


ForProcess = LookAtProcess | LookAtTracer | ContinueProcess | ThawProcess | RaiseDescriptors | LookAtQuota
ForHost = LookAtRoute | LookAtHost | LookAtPackets | RaiseConntrack | RaiseOpenFiles
CureStep = Release | ChangeConnections | Protect | Block | ChangeSetting | ChangeListener | Look | ForProcess | ForHost
# Actions that only help together, in the order in which they are carried out.
Cure = tuple[CureStep, ...]


def stays_on_watch(cure: Cure) -> bool:
    """Whether the advice is to watch on, as the live screen and the page do already."""
    return isinstance(cure[0], Look) and cure[0].command == "watch"
