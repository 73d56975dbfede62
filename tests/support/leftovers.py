"""What a test run leaves on the machine: look before, look after, name the difference.

Only what this run made counts: others use the machine meanwhile, and perhaps run this suite too. Processes are ours
when they descend from this one or carry its mark in their environment, so one that detached itself is found too.
Namespaces, listeners and programs are ours when such a process holds them, a name in /run/netns when it came from
`netns_name`. Settings and packet filter rules have no owner, so they count only where the run has a network namespace
of its own (`move_away`); where it cannot have one, it cannot change them either. An eBPF program that nobody holds has
no owner either (a pin keeps it, an attachment or a bug): it counts where no other run of these tests is alive.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import bpf_seen
from halfopen.lab.userns import may_make_namespaces
from halfopen.linux.netns import CLONE_NEWNET, unshare

MARK = "HALFOPEN_TEST_RUN"
NAMED = "/run/netns"
SIOCGSKNS = 0x894C
LISTEN, SYN_RECV = "0A", "03"
_NET = re.compile(r"^net:\[(\d+)\]$")
_SOCKET = re.compile(r"^socket:\[(\d+)\]$")
_LOOKS = 3
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_alone = False
_strangers: set[object] = set()  # programs that somebody else was found to hold


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    state: str
    name: str


@dataclass(frozen=True)
class State:
    """The machine at one moment, as far as a test could change it. Keys identify, values describe."""

    processes: dict[int, str] = field(default_factory=dict)  # pid
    namespaces: dict[int, str] = field(default_factory=dict)  # inode
    listeners: dict[str, str] = field(default_factory=dict)  # socket inode
    requests: dict[str, str] = field(default_factory=dict)  # both ends, of our listeners
    rules: frozenset[str] = frozenset()
    programs: dict[str, str] = field(default_factory=dict)  # kind and id of BPF programs, maps, links that we hold
    orphans: dict[str, str] = field(default_factory=dict)  # those called like ours that we do not hold
    settings: dict[str, str] = field(default_factory=dict)


def mark_this_run() -> None:
    """Mark this process's future children. A run inside a run carries both marks."""
    os.environ[MARK] = f"{os.environ.get(MARK, '')}:{os.getpid()}-{time.monotonic_ns()}"


def move_away() -> None:
    """Give the run a network namespace of its own, where it may have one: strangers change nothing in it."""
    global _alone
    if _alone or not may_make_namespaces():
        return
    try:
        unshare(CLONE_NEWNET)
    except OSError:
        return
    _alone = True
    if shutil.which("ip"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=False)


def netns_name(what: str = "") -> str:
    """A name for /run/netns that is known for this run's."""
    return f"halfopen-test-{os.getpid()}-{what}"


def look() -> State:
    """The machine as it is now, in the network namespace of the main thread."""
    ours = our_processes()
    holders = [os.getpid(), *ours]
    listeners, requests = _sockets(holders)
    programs, orphans = bpf_seen.seen(set(holders))
    return State(
        processes={p.pid: f"process {p.pid} ({p.name}, child of {p.parent})" for p in ours.values()},
        namespaces=dict(_namespaces(holders)),
        listeners=listeners,
        requests=requests,
        rules=_rules() if _alone else frozenset(),
        programs=programs,
        orphans=orphans,
        settings=_settings() if _alone else {},
    )


def difference(before: State, after: State) -> list[str]:
    """One line for each thing that is there now and was not before."""
    return list(_difference(before, after).values())


def _difference(before: State, after: State) -> dict[tuple[str, object], str]:
    left: dict[tuple[str, object], str] = {}
    for kind in ("processes", "namespaces", "listeners", "requests", "programs"):
        known = getattr(before, kind)
        left |= {(kind, key): text for key, text in getattr(after, kind).items() if key not in known}
    left |= {("rules", rule): f"packet filter rule: {rule}" for rule in sorted(after.rules - before.rules)}
    left |= {
        ("settings", name): f"setting {name} = {value} (was {before.settings[name]})"
        for name, value in after.settings.items()
        if before.settings.get(name, value) != value
    }
    return left


def leftovers(
    before: State,
    *,
    patience_s: float = 3.0,
    see: Callable[[], State] = look,
    orphans: bool = True,
    beside: Callable[[], bool] | None = None,
) -> list[str]:
    """Everything that is left after `patience_s` seconds: a namespace dies some time after its last holder.

    A thing that is missing from one look counts as gone, even if the same key is seen again later. With `orphans`,
    eBPF programs that nobody holds count too: nothing tells whose they are, so only where no other run of these tests
    is seen (`runs_beside`).
    """
    beside = beside or _others_possible
    deadline = time.monotonic() + patience_s
    stays: set[tuple[str, object]] | None = None
    looks = 0
    while True:
        now = see()
        left = _difference(before, now) | {
            ("orphans", key): text
            for key, text in now.orphans.items()
            if orphans and key not in before.orphans and key not in before.programs and key not in _strangers
        }
        stays = set(left) if stays is None else stays & left.keys()
        looks += 1
        if looks >= _LOOKS:
            _strangers.update(bpf_seen.held_by_others({key for kind, key in stays if kind == "orphans"}))
            stays = {(kind, key) for kind, key in stays if kind != "orphans" or key not in _strangers}
            if any(kind == "orphans" for kind, _ in stays) and beside():
                orphans = False
                stays = {(kind, key) for kind, key in stays if kind != "orphans"}
        # On a busy machine a look takes seconds.
        if not stays or (looks >= _LOOKS and time.monotonic() > deadline):
            return [text for key, text in left.items() if key in stays]
        time.sleep(0.05)


def our_processes() -> dict[int, Process]:
    """Every living process of this run but this one: descendants, and those that carry the mark."""
    mark = f"{MARK}={os.environ[MARK]}".encode() if os.environ.get(MARK) else None
    everyone = {p.pid: p for p in _processes()}
    ours: dict[int, Process] = {}
    for process in everyone.values():
        if process.pid != os.getpid() and (_descends(process, everyone) or (mark and _marked(process.pid, mark))):
            ours[process.pid] = process
    return ours


def _sees_everybody() -> bool:
    """Whether every process of the machine is seen here: not in a PID namespace of one's own, as of a container."""
    return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE


def _others_possible() -> bool:
    return not _sees_everybody() or runs_beside()


def runs_beside() -> bool:
    """Whether a process of another run of these tests is alive, or of another worker of this run."""
    everyone, ours = f"{MARK}=".encode(), {os.getpid(), *our_processes()}
    return any(_marked(p.pid, everyone) for p in _processes() if p.pid not in ours)


def _processes() -> Iterator[Process]:
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        # The name stands in parentheses and may hold any character.
        name, _, rest = text.partition("(")[2].rpartition(")")
        state, parent, *_ = rest.split()
        # A zombie holds nothing; one that nobody waits for is a ResourceWarning, and those are errors here.
        if state not in "ZX":
            yield Process(int(entry), int(parent), state, name)


def _descends(process: Process, everyone: dict[int, Process]) -> bool:
    me = os.getpid()
    seen: set[int] = set()
    at: Process | None = process
    while at and at.pid not in seen:
        if at.parent == me:
            return True
        seen.add(at.pid)
        at = everyone.get(at.parent)
    return False


def _marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            return any((entry + b":").startswith(mark + b":") for entry in f.read().split(b"\0"))
    except OSError:
        return False


def _namespaces(holders: list[int]) -> Iterator[tuple[int, str]]:
    for pid in holders:
        who = "this process" if pid == os.getpid() else f"process {pid}"
        for link in glob.glob(f"/proc/{pid}/task/*/ns/net"):
            yield from _inode(link, f"{who} lives in it")
        for link in glob.glob(f"/proc/{pid}/fd/*"):
            yield from _inode(link, f"descriptor {os.path.basename(link)} of {who}")
    yield from _behind_sockets()
    if os.path.isdir(NAMED):
        for name in os.listdir(NAMED):
            if not name.startswith(netns_name()):
                continue
            try:
                inode = os.stat(f"{NAMED}/{name}").st_ino
            except OSError:
                continue
            yield inode, f"network namespace {inode}: {NAMED}/{name}"


def _inode(link: str, how: str) -> Iterator[tuple[int, str]]:
    try:
        match = _NET.match(os.readlink(link))
    except OSError:
        return
    if match:
        yield int(match[1]), f"network namespace {match[1]}: {how}"


def _behind_sockets() -> Iterator[tuple[int, str]]:
    """Namespaces that live on only because a socket of this process was opened in them."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            ns = fcntl.ioctl(fd, SIOCGSKNS)
        except OSError:
            continue
        try:
            inode = os.fstat(ns).st_ino
        finally:
            os.close(ns)
        yield inode, f"network namespace {inode}: socket {fd} of this process was opened in it"


def _sockets(holders: list[int]) -> tuple[dict[str, str], dict[str, str]]:
    """Our listeners in this namespace, and the request sockets at their ports."""
    held = _held_sockets(holders)
    listeners: dict[str, str] = {}
    requests: dict[str, str] = {}
    ports: set[str] = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as f:
                rows = f.read().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            local, remote, state, inode = columns[1], columns[2], columns[3], columns[9]
            port = local.rpartition(":")[2]
            if state == LISTEN and inode in held:
                ports.add(port)
                listeners[inode] = f"listener on port {int(port, 16)} of process {held[inode]}"
            elif state == SYN_RECV:
                requests[f"{local} {remote}"] = f"request socket on port {int(port, 16)} outside the lab"
    return listeners, {ends: text for ends, text in requests.items() if ends.split()[0].rpartition(":")[2] in ports}


def _held_sockets(holders: list[int]) -> dict[str, int]:
    held: dict[str, int] = {}
    for pid in holders:
        for link in glob.glob(f"/proc/{pid}/fd/*"):
            try:
                match = _SOCKET.match(os.readlink(link))
            except OSError:
                continue
            if match:
                held[match[1]] = pid
    return held


def _rules() -> frozenset[str]:
    """The packet filter of this namespace, a rule a line with its table and chain before it."""
    if os.geteuid() != 0:
        return frozenset()
    if shutil.which("nft"):
        text = _output("nft", "--stateless", "list", "ruleset")
        return frozenset(with_context(text))
    # Asking iptables where nobody uses it would load its modules.
    if shutil.which("iptables-save") and os.path.exists("/proc/net/ip_tables_names"):
        lines = (re.sub(r"\[\d+:\d+\]", "", line) for line in _output("iptables-save").splitlines())
        return frozenset(line for line in lines if line.startswith(("-A", "-N")))
    return frozenset()


def with_context(ruleset: str) -> Iterator[str]:
    """The lines of `nft list ruleset`, each behind the names of its table and chain."""
    context: list[str] = []
    for line in map(str.strip, ruleset.splitlines()):
        if line.endswith("{"):
            context.append(line[:-1].strip())
            yield " ".join(context)
        elif line == "}" and context:
            context.pop()
        elif line:
            yield " ".join([*context, line])


def _settings() -> dict[str, str]:
    """This namespace's TCP settings: tests change those of the lab only."""
    found = {}
    for path in [*glob.glob("/proc/sys/net/ipv4/tcp_*"), "/proc/sys/net/core/somaxconn"]:
        try:
            with open(path) as f:
                found[path.removeprefix("/proc/sys/").replace("/", ".")] = f.read().strip()
        except OSError:
            continue
    return found


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else ""
