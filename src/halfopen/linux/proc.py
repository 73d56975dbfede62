"""Facts from /proc about processes, including this one. Imports nothing heavy: completing a word in a shell uses it."""

from __future__ import annotations

import os
from typing import Final

from halfopen.core.capabilities import CAPABILITIES
from halfopen.linux.small_files import read, text

# To read a link of each takes longer than loading the eBPF program that needs none.
MANY_FILES: Final = 10_000
# include/linux/proc_ns.h: PROC_PID_INIT_INO and PROC_USER_INIT_INO, the namespaces that were booted.
BOOTED_PIDS: Final = 0xEFFFFFFC
_BOOTED_USERS: Final = 0xEFFFFFFD
_FILES: Final = "Max open files"
# /proc/self/uid_map where every user is mapped to itself.
_EVERY_USER: Final = ["0", "0", "4294967295"]


def on_the_host() -> bool:
    """Whether this process is in the PID and the user namespace that were booted: else it is in a container."""
    try:
        found = os.stat("/proc/self/ns/pid").st_ino, os.stat("/proc/self/ns/user").st_ino
    except OSError:
        return False
    return found == (BOOTED_PIDS, _BOOTED_USERS)


def in_user_namespace() -> bool | None:
    """Whether this process lives in a user namespace of its own: there, no capability counts for the machine. None
    where /proc does not say.
    """
    mapped = text("/proc/self/uid_map").split()
    return mapped != _EVERY_USER if mapped else None


def pids() -> list[int]:
    """The processes there are, in order. Raises: OSError where /proc is not mounted."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def open_files(pid: int) -> int | None:
    """How many files a process has open, 0 also where the kernel does not tell; None when it ended, or is hidden.

    Since commit f1f1f2569901 ("proc: report open files as size in stat() for /proc/pid/fd") (in v6.2).
    """
    try:
        return os.stat(f"/proc/{pid}/fd").st_size
    except OSError:
        return None


def open_files_limit(limits: str) -> int | None:
    """The soft limit of open files in the text of /proc/PID/limits; None where it is not told."""
    for line in limits.splitlines():
        if line.startswith(_FILES):
            soft = line[len(_FILES) :].split()[:1]
            return int(soft[0]) if soft and soft[0].isdigit() else None
    return None


def has_open_files(most: int) -> bool:
    """Whether all processes together have more than that many open files; False where the kernel does not tell."""
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
    """The name that a process gives itself, as it stands: it may hold control characters. None when it ended."""
    found = read(f"/proc/{pid}/comm")
    return None if found is None else found.decode("utf-8", "replace").removesuffix("\n")


def stat_fields(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat behind the name: the state is the first, the parent the second. Empty when it ended.

    Source: do_task_stat(), fs/proc/array.c. The name may hold blanks and brackets.
    """
    return text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def status() -> dict[str, str]:
    """The lines of the calling thread's /proc/thread-self/status, by name."""
    lines = (line.partition(":") for line in text("/proc/thread-self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def lacking(needs: tuple[str, ...]) -> list[str]:
    """The capabilities among `needs` that the calling thread does not have in effect."""
    effective = int(status().get("CapEff", "0"), 16)
    return [name for name in needs if not effective >> CAPABILITIES[name] & 1]


def yama_scope() -> str:
    """kernel.yama.ptrace_scope; empty where the kernel has no Yama."""
    return text("/proc/sys/kernel/yama/ptrace_scope")


def numbers_as_we_do() -> bool:
    """Whether /proc numbers processes as this process's own PID namespace does."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False
