"""Running a program as somebody with chosen capabilities: uid 65534 and what is named, nothing else."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

from run import environment

NOBODY = 65534
# Where the interpreter or the checkout lies in root's home, nobody could not even start it. This one opens no feature.
_TO_READ_FILES = "dac_read_search"


def setpriv(*capabilities: str) -> list[str]:
    """The words before a command (bpf, perfmon, net_admin …: as setpriv of util-linux names them)."""
    kept = [*capabilities, *([] if _readable() else [_TO_READ_FILES])]
    plus = "".join(f",+{name}" for name in kept)
    return [*_as_nobody(), f"--inh-caps=-all{plus}", f"--ambient-caps=-all{plus}", f"--bounding-set=-all{plus}"]


def _as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


@lru_cache(maxsize=1)
def _readable() -> bool:
    command = [*_as_nobody(), sys.executable, "-c", "import halfopen.kernel.reader"]
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0


def python(code: str, *capabilities: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with this checkout's halfopen as nobody with these capabilities."""
    return subprocess.run(
        [*setpriv(*capabilities), sys.executable, "-c", code],
        env=environment(HOME="/nonexistent", **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def halfopen(*words: str, capabilities: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `halfopen` with these words as nobody with these capabilities."""
    return python(
        f"import sys; sys.argv = ['halfopen', *{words!r}]; import halfopen.__main__", *capabilities, **variables
    )
