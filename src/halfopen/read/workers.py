"""What the processes that hold a listening socket do: state, where they wait, descriptors, CPU time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from halfopen.core.capabilities import CAPABILITIES
from halfopen.core.findings.holder import FREEZER
from halfopen.core.sample.workers import OpenFiles, Workers, WorkerState
from halfopen.linux import proc, small_files
from halfopen.read import cgroups
from halfopen.read.probe import Draft, Probe

# Reading a process takes about 0.2 ms, a thread 0.03 ms; more on a busy machine.
BUDGET_S: Final = 0.1
# At most this many threads of a process are examined; a server may have thousands.
_THREADS: Final = 256
# A process that strace looks at goes on within that time.
_MOMENT_S: Final = 0.02
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def probe(pids: Sequence[int], earlier: Workers | None = None) -> Probe:
    """The probe of these processes, the most important first. earlier: the previous look, for differences."""

    def looked(_: Draft) -> Workers:
        return read(pids, earlier)

    return Probe("what the listening processes do", ("procfs",), looked)


def read(pids: Sequence[int], earlier: Workers | None = None, budget_s: float = BUDGET_S) -> Workers:
    """The states of these processes, as many as time allows, without those that have ended."""
    began, files = time.monotonic(), files_of_system(small_files.text("/proc/sys/fs/file-nr"))
    found: dict[int, WorkerState] = {}
    for at, pid in enumerate(pids):
        if time.monotonic() > began + budget_s:
            return Workers(began, found, len(pids) - at, earlier, files)
        one = worker(pid, began + budget_s)
        if one is not None:
            found[pid] = one
    return Workers(began, found, earlier=earlier, files=files)


def worker(pid: int, until_s: float) -> WorkerState | None:
    """The state of one process, with as many of its threads as time allows; None if it has ended."""
    fields = proc.stat_fields(pid)
    if len(fields) < 13:
        return None
    waits_in, queued_s, whole = _threads(pid, until_s)
    mine, status = small_files.text(f"/proc/{pid}/cgroup"), small_files.text(f"/proc/{pid}/status")
    v2, v1 = cgroups.directories(mine)
    return WorkerState(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        waits_in=waits_in,
        whole=whole,
        descriptors=_descriptors(pid, until_s),
        descriptor_limit=proc.open_files_limit(small_files.text(f"/proc/{pid}/limits")),
        # utime and stime, of all threads (do_task_stat()).
        ran_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        queued_s=queued_s,
        quotas=(*cgroups.quotas(v2), *cgroups.quotas(v1)),
        cpu_stalled_s=cgroups.stalled_s(v2, "cpu"),
        io_stalled_s=cgroups.stalled_s(v2, "io"),
        exempt=may_pass(status),
        tracer=tracer(status),
        frozen=cgroups.thaws(v2, cgroups.freezer(mine)),
    )


def stopped(pid: int) -> str:
    """Why a process does not run: "T" (stopped by a signal), "t" (by a debugger), the file of its frozen cgroup, or
    "frozen" where that is out of sight; "" where it runs, or ended.
    """
    state = next(iter(proc.stat_fields(pid)), "")
    if state == "t":
        # strace stops a process for a moment at each of its system calls.
        before = _switches(pid)
        time.sleep(_MOMENT_S)
        return state if _switches(pid) == before else ""
    if state == "T":
        return state
    mine = small_files.text(f"/proc/{pid}/cgroup")
    file = cgroups.thaws(cgroups.directories(mine)[0], cgroups.freezer(mine))
    return file or ("frozen" if waits_in(small_files.text(f"/proc/{pid}/wchan")) in FREEZER else "")


def _switches(pid: int) -> list[str]:
    """How often the main thread of a process gave up its CPU, as lines of /proc/PID/status."""
    return [line for line in small_files.text(f"/proc/{pid}/status").splitlines() if "ctxt_switches" in line]


def _threads(pid: int, until_s: float) -> tuple[tuple[str, ...], float, bool]:
    """Where the threads wait, how long they have waited for a CPU so far (s), and whether all were examined."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return (), 0.0, False
    waits: dict[str, None] = {}
    queued_ns = 0
    for at, thread in enumerate(threads):
        if at == _THREADS or time.monotonic() > until_s:
            return tuple(waits), queued_ns / 1e9, False
        waits[waits_in(small_files.text(f"/proc/{pid}/task/{thread}/wchan"))] = None
        # sched_info.run_delay (proc_pid_schedstat()); absent without CONFIG_SCHED_INFO.
        delay = small_files.text(f"/proc/{pid}/task/{thread}/schedstat").split()[1:2]
        queued_ns += int(delay[0]) if delay and delay[0].isdigit() else 0
    return tuple(waits), queued_ns / 1e9, True


def waits_in(wchan: str) -> str:
    """The kernel function in the text of wchan, without suffixes of the compiler; "" if it does not wait (`0`)."""
    return "" if wchan == "0" else wchan.partition(".")[0]


def files_of_system(file_nr: str) -> OpenFiles | None:
    """The open files in the text of /proc/sys/fs/file-nr: allocated, free (0 since Linux 2.6) and the limit."""
    numbers = file_nr.split()
    if len(numbers) != 3 or not all(map(str.isdigit, numbers)):
        return None
    return OpenFiles(int(numbers[0]) - int(numbers[1]), int(numbers[2]))


def may_pass(status: str) -> bool:
    """Whether the text of /proc/PID/status has CAP_SYS_ADMIN among the effective capabilities."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAPABILITIES["CAP_SYS_ADMIN"] & 1)
    return False


def tracer(status: str) -> int:
    """The PID of the tracer in the text of /proc/PID/status; 0: none, or not visible in this PID namespace."""
    for line in status.splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0


def _descriptors(pid: int, until_s: float) -> int | None:
    """How many descriptors a process has open; None if that is hidden or takes too long."""
    if told := proc.open_files(pid):
        return told
    try:
        with os.scandir(f"/proc/{pid}/fd") as found:
            count = 0
            for count, _ in enumerate(found, 1):
                if count % 1024 == 0 and time.monotonic() > until_s:
                    return None
            return count
    except OSError:
        return None
