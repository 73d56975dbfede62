"""See to it that changes return by themselves at a time, whatever becomes of the process that made them.

Where systemd runs, a transient timer of it; else, and for a namespace that only an open file of this process leads to,
a child in a session of its own that holds the namespace open.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from halfopen.act.journal import CRASH, ENVIRONMENT
from halfopen.core.errors import HalfopenError
from halfopen.core.journal import Place

SYSTEMD: Final = "/run/systemd/system"
_ARMED_WITHIN_S: Final = 15.0


def arm(ids: Sequence[int], at_s: float, place: Place, netns_fd: int, directory: str) -> str:
    """Have `halfopen tune undo IDS` run at `at_s` (Unix time). Returns who sees to it: "systemd" or "child".

    Raises: HalfopenError "timer" when nobody does.
    """
    if _systemd_reaches(place) and _with_systemd(ids, at_s, directory):
        return "systemd"
    _with_child(ids, at_s, netns_fd, directory)
    return "child"


def _systemd_reaches(place: Place) -> bool:
    """Whether a process started by systemd finds the namespace: not one that only our own descriptor holds."""
    ours = ("/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/", f"/proc/{os.getpid()}/fd/")
    here = os.path.isdir(SYSTEMD) and os.geteuid() == 0 and shutil.which("systemd-run") is not None
    return here and not place.path.startswith(ours)


def _command(ids: Sequence[int], at_s: float) -> list[str]:
    return [sys.executable, "-P", "-m", "halfopen", "tune", "undo", *map(str, ids), "--at", f"{at_s:.3f}"]


def _python_path() -> str:
    # This very code again, also where it runs from a checkout.
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _with_systemd(ids: Sequence[int], at_s: float, directory: str) -> bool:
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=halfopen-tune-{ids[0]}-{int(at_s)}",
        "--description=halfopen: undo a change of settings that was made for a time",
        f"--on-active={max(0.0, at_s - time.time()):.3f}s",
        "--timer-property=AccuracySec=1s",
        f"--setenv={ENVIRONMENT}={os.path.abspath(directory)}",
        f"--setenv=PYTHONPATH={_python_path()}",
        "--",
        *_command(ids, at_s),
    ]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _with_child(ids: Sequence[int], at_s: float, netns_fd: int, directory: str) -> None:
    ready, write = os.pipe()
    try:
        try:
            environment = {**os.environ, ENVIRONMENT: os.path.abspath(directory), "PYTHONPATH": _python_path()}
            environment.pop(CRASH, None)
            # A shell that starts it and ends: it belongs to nobody, has its own session, and no Ctrl-C reaches it.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *_command(ids, at_s), "--ready", str(write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
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
    raise HalfopenError("timer", "no process could be started that undoes it in time", hint="apply it without --for")
