"""What would help, as actions of the one currency (`core.policy.actions`), and what only a person can look at."""

from __future__ import annotations

from dataclasses import dataclass

from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Release


@dataclass(frozen=True, slots=True)
class LookAtProcess:
    """Look at a process that does not accept: where it waits. Changes nothing."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class ContinueProcess:
    """Have a stopped process go on (SIGCONT)."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class RaiseDescriptors:
    """Let a running process have so many open files (RLIMIT_NOFILE)."""

    pid: int
    limit: int
    reason: str


@dataclass(frozen=True, slots=True)
class LookAtQuota:
    """Look at the CPU quota of a cgroup: its directory, and the systemd unit where there is one. Changes nothing."""

    cgroup: str
    unit: str
    reason: str


@dataclass(frozen=True, slots=True)
class LookAtRoute:
    """Look at the route back to a client. Changes nothing."""

    netns: str
    address: str
    reason: str


ForProcess = LookAtProcess | ContinueProcess | RaiseDescriptors | LookAtQuota
CureStep = Release | ChangeSetting | ChangeListener | Look | ForProcess | LookAtRoute
# Actions that only help together, in the order in which they are carried out.
Cure = tuple[CureStep, ...]
