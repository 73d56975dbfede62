"""Arranging that changes are reverted at a set time, whatever happens to the process that made them.

The revert is made by a transient systemd timer; where systemd does not run, or if only a descriptor of this process
leads to the namespace, by a child process in a session of its own that holds the namespace open. Both run `python -m
halfopen.ops.tune.timer`.
"""

from __future__ import annotations

import math
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from halfopen.change import audit
from halfopen.core.errors import HalfopenError, Unsupported
from halfopen.core.tune.records import Began
from halfopen.linux import proc, state, systemd
from halfopen.linux.own_code import python_path
from halfopen.read import netns_lookup

_TIMER: Final = "halfopen.ops.tune.timer"
_ARMED_WITHIN_S: Final = 15.0
# Minimal inits of containers: as process 1, they run one command and end with it.
_ENDS_WITH_US: Final = ("tini", "docker-init", "dumb-init", "catatonit", "podman-init", "bwrap", "(sd-stubinit)")


def arm(begun: Sequence[Began], netns_fd: int, directory: str, audit_log: str) -> str:
    """Arrange the undo of the changes at their time, by the journal in `directory`. Returns "systemd" or "child".

    netns_fd: a namespace to hold open until then. audit_log: where that is recorded.

    Raises: HalfopenError "timer" if neither works.
    """
    ids, at_s = [b.id for b in begun], begun[0].until_s or 0.0
    environment = {
        state.ENVIRONMENT: os.path.abspath(directory),
        audit.ENVIRONMENT: os.path.abspath(audit_log),
        "PYTHONPATH": python_path(),
    }
    if _systemd_reaches(begun[0].place.path) and _with_systemd(ids, at_s, _left_s(begun[0]), environment):
        return "systemd"
    _with_child(ids, at_s, netns_fd, environment)
    return "child"


def _left_s(began: Began) -> float:
    return max(0.0, netns_lookup.clocks().left_s(began) or 0.0)


def risk(path: str) -> str:
    """A note on what may prevent a change of the namespace at `path` from being undone in time; empty: nothing known.

    When process 1 of a PID namespace (a container) ends, all its processes are killed, also the one that waits.

    Raises: Unsupported if that is certain to happen.
    """
    if _systemd_reaches(path):
        return ""
    instead = "run it on the host with --netns pid:N, in a container that keeps running (docker exec), or without --for"
    if os.getpid() == 1:
        raise Unsupported(
            "timer",
            "halfopen is process 1 of this container (PID namespace): the process that would undo "
            "the change ends with it",
            hint=instead,
        )
    pids = _namespace("pid")
    # The link cannot be opened before the first process of that namespace exists.
    if _namespace("pid_for_children") != pids and "pid_for_children" in os.listdir("/proc/self/ns"):
        raise Unsupported(
            "timer",
            "processes started from here run in a PID namespace that ends when the first of them exits",
            hint=instead,
        )
    if pids == proc.BOOTED_PIDS:
        return ""
    if os.getppid() == 1 and (first := _first()) in _ENDS_WITH_US:
        raise Unsupported(
            "timer",
            f"{first}, process 1 of this container (PID namespace), exits together with this command",
            hint=instead,
        )
    return (
        "a process in this container (PID namespace) undoes the change: if the container ends first and its network "
        "namespace stays, the change stays too. To be safe, run it on the host with --netns pid:N"
    )


def _namespace(kind: str) -> int:
    """The inode of a namespace of this process; 0 if it cannot be read."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return 0


def _first() -> str:
    """The name of process 1; empty if /proc does not show it."""
    return proc.name(1) or ""


def _systemd_reaches(path: str) -> bool:
    """Whether a process that systemd starts could open the namespace, which it could not by our own descriptor.

    Also False in a container that sees the host's /run/systemd: the timer would run on the host, without our files.
    """
    ours = ("/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/", f"/proc/{os.getpid()}/fd/")
    here = os.path.isdir(systemd.RUNS) and os.geteuid() == 0 and shutil.which("systemd-run") is not None
    return here and not path.startswith(ours) and _systemd_is_first()


def _systemd_is_first() -> bool:
    try:
        return _first() == "systemd" and os.path.samestat(os.stat("/proc/1/root"), os.stat("/"))
    except OSError:
        return False


def _command(ids: Sequence[int], at_s: float) -> list[str]:
    return [sys.executable, "-P", "-m", _TIMER, *map(str, ids), "--at", f"{at_s:.3f}"]


def _with_systemd(ids: Sequence[int], at_s: float, left_s: float, environment: Mapping[str, str]) -> bool:
    # By two clocks: the monotonic one stops while the machine is suspended, and the wall clock may be set back.
    on_the_wall = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(math.ceil(at_s)))
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=halfopen-tune-{ids[0]}-{int(at_s)}",
        "--description=halfopen: revert a temporary change of settings",
        f"--on-active={left_s:.3f}s",
        f"--on-calendar={on_the_wall}",
        "--timer-property=AccuracySec=1s",
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        "--",
        *_command(ids, at_s),
    ]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _with_child(ids: Sequence[int], at_s: float, netns_fd: int, environment: Mapping[str, str]) -> None:
    ready, write = os.pipe()
    try:
        try:
            # Started by a shell that ends, so that it is no child of ours, and in a session that Ctrl-C does not reach.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *_command(ids, at_s), "--ready", str(write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd="/",
                start_new_session=True,
                pass_fds=(write, netns_fd),
                timeout=_ARMED_WITHIN_S,
                check=True,
            )
        finally:
            os.close(write)
        waiting = select.poll()
        waiting.register(ready, select.POLLIN)
        if waiting.poll(_ARMED_WITHIN_S * 1000) and os.read(ready, 1):
            return
    except (OSError, subprocess.SubprocessError):
        pass
    finally:
        os.close(ready)
    raise HalfopenError("timer", "the process that would revert it could not be started", hint="apply it without --for")
