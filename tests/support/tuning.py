"""Changes as tests make them: planned and carried out at once; and processes that die in the middle of one.

Run as a program, it is halfopen that dies at a step: python tuning.py STEP[:N] WORDS…
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halfopen.change import journal_file
from halfopen.core.policy.actions import Undo
from halfopen.core.tune import keys
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.tune.goals import WantedSetting
from halfopen.core.tune.listener import Wishes
from halfopen.core.tune.outcomes import Tuned, Undid
from halfopen.core.tune.plan import Request
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.executor import Executor
from halfopen.ops.tune import listener, tune, values
from halfopen.ops.tune.plan import exactly

KEYS = (keys.SYNACK, keys.COOKIES, keys.ABORT)  # what `held` reads


def apply(wanted: Sequence[WantedSetting], ns: Netns, *, checkpoint: Checkpoint = go_on, **request: Any) -> Tuned:
    """Set exactly these values."""
    return tune.carry_out(lambda: exactly(ns, wanted, Request(**request)), Executor(checkpoint=checkpoint))


def change(ns: Netns, port: int, wishes: Wishes, *, checkpoint: Checkpoint = go_on, **more: Any) -> Tuned:
    """Set what is wished for on the listeners of a port."""
    return tune.carry_out(
        lambda: listener.plan_listener(ns, None, port, wishes, **more), Executor(checkpoint=checkpoint)
    )


def waiting(state: Path) -> list[int]:
    """The processes that wait to undo something of this journal."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            inside = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--at" in words and f"HALFOPEN_STATE_DIR={state}".encode() in inside:
            found.append(int(entry))
    return found


def held(path: str) -> dict[str, int]:
    """The settings KEYS of a namespace, as they are now."""
    return values.read(resolve(path), KEYS)


def undo(ids: Sequence[int] | None = None, *, reason: str = "", checkpoint: Checkpoint = go_on) -> Undid:
    """Undo these changes, or all that are in force."""
    return Executor(checkpoint=checkpoint).execute(Undo(None if ids is None else tuple(ids), reason))


def dying_at(step: str) -> Checkpoint:
    """A checkpoint at which this process is killed: at the step STEP, or with STEP:N the N-th time it comes there.

    "torn" dies with half of a record of the journal written.
    """
    wanted, _, count = step.partition(":")
    passed: dict[str, int] = {}

    def reached(name: str) -> bool:
        passed[name] = passed.get(name, 0) + 1
        return name == wanted and passed[name] == int(count or 1)

    def checkpoint(name: str) -> None:
        if reached(name):
            os.kill(os.getpid(), signal.SIGKILL)

    write = journal_file._write

    def torn(fd: int, data: bytes) -> None:
        if reached("torn"):
            write(fd, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(fd, data)

    journal_file._write = torn
    return checkpoint


if __name__ == "__main__":
    from halfopen.cli.entry import main

    Executor.__init__.__kwdefaults__["checkpoint"] = dying_at(sys.argv[1])
    sys.argv[:2] = ["halfopen"]
    main()
