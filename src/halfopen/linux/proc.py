"""Facts from /proc about processes, including this one. Imports nothing heavy: completing a word in a shell uses it."""

from __future__ import annotations

import os
from typing import Final

from halfopen.core.capabilities import CAPABILITIES
from halfopen.linux.small_files import read, text

# With more files than this, reading their links takes longer than loading the eBPF program.
MANY_FILES: Final = 10_000
# include/linux/proc_ns.h: PROC_PID_INIT_INO and PROC_USER_INIT_INO, the initial namespaces.
BOOTED_PIDS: Final = 0xEFFFFFFC
_BOOTED_USERS: Final = 0xEFFFFFFD
_FILES: Final = "Max open files"
# /proc/self/uid_map of the initial user namespace: every user is mapped to itself.
_EVERY_USER: Final = ["0", "0", "4294967295"]


def on_the_host() -> bool:
    """Whether this process is in the initial PID and user namespaces, and so not in a container."""
    try:
        found = os.stat("/proc/self/ns/pid").st_ino, os.stat("/proc/self/ns/user").st_ino
    except OSError:
        return False
    return found == (BOOTED_PIDS, _BOOTED_USERS)


def in_user_namespace() -> bool | None:
    """Whether this process is in another user namespace than the initial one, where capabilities do not count for the
    machine; None if /proc does not show it.
    """
    mapped = text("/proc/self/uid_map").split()
    return mapped != _EVERY_USER if mapped else None


def pids() -> list[int]:
    """All PIDs, ascending. Raises: OSError if /proc is not mounted."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def open_files(pid: int) -> int | None:
    """How many files a process has open; 0 also if the kernel does not tell; None if it has ended or is hidden.

    Since commit f1f1f2569901 ("proc: report open files as size in stat() for /proc/pid/fd") (in v6.2).
    """
    try:
        return os.stat(f"/proc/{pid}/fd").st_size
    except OSError:
        return None


def open_files_limit(limits: str) -> int | None:
    """The soft limit of open files in the text of /proc/PID/limits; None if it is not shown."""
    for line in limits.splitlines():
        if line.startswith(_FILES):
            soft = line[len(_FILES) :].split()[:1]
            return int(soft[0]) if soft and soft[0].isdigit() else None
    return None


def has_open_files(most: int) -> bool:
    """Whether all processes together have more than `most` open files; False if the kernel does not tell."""
    count = 0
    try:
        names = os.listdir("/proc")
    except OSError:  # not mounted
        return False
    for pid in filter(str.isdigit, names):
        count += open_files(int(pid)) or 0
        if count > most:
            return True
    return False


def name(pid: int) -> str | None:
    """The name of a process, unescaped: it may contain control characters. None if the process has ended."""
    found = read(f"/proc/{pid}/comm")
    return None if found is None else found.decode("utf-8", "replace").removesuffix("\n")


def stat_fields(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat after the name: the state, the parent and so on. Empty if the process has ended.

    Source: do_task_stat(), fs/proc/array.c. The name may contain blanks and parentheses.
    """
    return text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def status() -> dict[str, str]:
    """The lines of the calling thread's /proc/thread-self/status, by name."""
    lines = (line.partition(":") for line in text("/proc/thread-self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def lacking(needs: tuple[str, ...]) -> list[str]:
    """The capabilities among `needs` that are not in the calling thread's effective set."""
    effective = int(status().get("CapEff", "0"), 16)
    return [name for name in needs if not effective >> CAPABILITIES[name] & 1]


def yama_scope() -> str:
    """kernel.yama.ptrace_scope; empty where the kernel has no Yama."""
    return text("/proc/sys/kernel/yama/ptrace_scope")


def numbers_as_we_do() -> bool:
    """Whether /proc belongs to this process's own PID namespace, so that its PIDs are ours."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False
