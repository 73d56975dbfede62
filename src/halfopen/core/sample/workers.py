"""The processes that hold a listening socket on which connections wait, and what each was doing at one moment."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class Quota(Struct, frozen=True):
    """A CPU quota: the cgroup's directory, the number of periods in which it was in force, and of those in which it
    was used up.

    Source: cpu_cfs_stat_show(), kernel/sched/core.c.
    """

    directory: str
    periods: int
    throttled: int


class WorkerState(Struct, frozen=True):
    """A process that holds a listening socket, at one moment.

    parent: its parent's pid. state: the letter of /proc/PID/stat, of its main thread. waits_in: the kernel functions
    its threads wait in, each once; "" stands for a thread that runs or whose function is hidden. whole: all threads
    were looked at. descriptors, descriptor_limit: open descriptors and RLIMIT_NOFILE; None where hidden. ran_s: CPU
    time used so far. queued_s: how long the threads looked at were ready to run and had no CPU (run_delay). quotas: of
    its cgroup and of those above it. cpu_stalled_s, io_stalled_s: how long tasks of its cgroup waited for CPU or I/O
    (PSI, cgroup v2); None where that is not to be had. exempt: it may open files past the limit of the whole system
    (CAP_SYS_ADMIN, `alloc_empty_file()`). tracer: the process that traces it, as a debugger does; 0 for none, or one
    out of sight. frozen: the file that thaws the cgroup whose freezer stops it; "" for none, or one out of sight.
    """

    pid: int
    parent: int
    state: str
    waits_in: tuple[str, ...] = ()
    whole: bool = True
    descriptors: int | None = None
    descriptor_limit: int | None = None
    ran_s: float = 0.0
    queued_s: float = 0.0
    quotas: tuple[Quota, ...] = ()
    cpu_stalled_s: float | None = None
    io_stalled_s: float | None = None
    exempt: bool = False
    tracer: int = 0
    frozen: str = ""


class OpenFiles(Struct, frozen=True):
    """Open files of the whole system, and how many there may be (`proc_nr_files()`, fs/file_table.c)."""

    count: int
    limit: int


class Workers(Struct, frozen=True):
    """The processes that were looked at, by pid. monotonic_s: the time of the look. left_out: how many there was no
    time for. earlier: the same processes at the look before, if there was one. files: open files of the whole system;
    None where hidden.
    """

    monotonic_s: float
    by_pid: Mapping[int, WorkerState] = field(default_factory=dict)
    left_out: int = 0
    earlier: Workers | None = None
    files: OpenFiles | None = None
