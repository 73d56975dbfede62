"""Facts from the cgroups of a process: CPU quotas that are used up, and pressure."""

from __future__ import annotations

import os
from typing import Final

from halfopen.core.sample.workers import Quota
from halfopen.linux import small_files

# Where cgroup v2 is mounted, alone or beside v1; and controllers of v1 (cgroups(7)). `ip netns exec` mounts a new /sys,
# without them; the first process still sees them.
_TREES: Final = ("/sys/fs/cgroup", "/proc/1/root/sys/fs/cgroup")
_V2: Final = tuple(tree + place for tree in _TREES for place in ("", "/unified"))
_V1: Final = tuple(tree + place for tree in _TREES for place in ("/cpu,cpuacct", "/cpu"))
_FREEZER: Final = tuple(f"{tree}/freezer" for tree in _TREES)
# A quota may be set on a slice or a pod above the service.
_LEVELS: Final = 8


def directories(cgroup: str) -> tuple[str | None, str | None]:
    """The directories of cgroup v2 and of the CPU controller of v1 in the text of /proc/PID/cgroup."""
    v2 = v1 = None
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            v2 = _below(_V2, path, "cgroup.procs")
        elif "cpu" in controllers.split(","):
            v1 = _below(_V1, path, "cpu.stat")
    return v2, v1


def freezer(cgroup: str) -> str | None:
    """The directory of the freezer of cgroup v1 in the text of /proc/PID/cgroup."""
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "freezer" in controllers.split(","):
            return _below(_FREEZER, path, "freezer.state")
    return None


def thaws(v2: str | None, v1: str | None) -> str:
    """The file that thaws the frozen cgroup, which is this one or an ancestor; "" if none is frozen.

    Sources: cgroup_freeze_write(), kernel/cgroup/cgroup.c; freezer_self_freezing_read(), legacy_freezer.c there.
    """
    for directory, asked, file in (
        (v2, "cgroup.freeze", "cgroup.freeze"),
        (v1, "freezer.self_freezing", "freezer.state"),
    ):
        for _ in range(_LEVELS):
            if directory is None or directory in (*_V2, *_FREEZER, *_TREES, "/"):
                break
            if small_files.text(f"{directory}/{asked}").strip() == "1":
                return f"{directory}/{file}"
            directory = os.path.dirname(directory)
    return ""


def _below(roots: tuple[str, ...], path: str, witness: str) -> str | None:
    """The directory of `path` below the first of these mount points where it has the file `witness`; None: nowhere."""
    for root in roots:
        directory = os.path.normpath(f"{root}/{path}")
        if directory.startswith(root) and os.path.exists(f"{directory}/{witness}"):
            return directory
    return None


def quotas(directory: str | None) -> tuple[Quota, ...]:
    """The CPU quotas in force at a directory and above it, the nearest first."""
    found: list[Quota] = []
    for _ in range(_LEVELS):
        if directory is None or directory in (*_V2, *_V1, *_TREES, "/"):
            break
        one = quota(directory, small_files.text(f"{directory}/cpu.stat"))
        if one is not None:
            found.append(one)
        directory = os.path.dirname(directory)
    return tuple(found)


def quota(directory: str, text: str) -> Quota | None:
    """The quota in the text of cpu.stat; None if no quota was ever in force."""
    values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    try:
        periods, throttled = int(values.get("nr_periods", 0)), int(values.get("nr_throttled", 0))
    except ValueError:
        return None
    return Quota(directory, periods, throttled) if periods else None


def stalled_s(directory: str | None, resource: str) -> float | None:
    """How long some task of a cgroup waited for a resource ("cpu", "io"); None without PSI.

    Source: psi_show(), kernel/sched/psi.c: `some avg10=… total=MICROSECONDS`.
    """
    if directory is None:
        return None
    for line in small_files.text(f"{directory}/{resource}.pressure").splitlines():
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if kind == "some" and total.isdigit():
            return int(total) / 1e6
    return None
