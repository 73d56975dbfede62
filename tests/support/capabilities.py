"""Running a program as somebody with chosen capabilities: uid 65534 and what is named, nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

import readable
from readable import NOBODY
from run import PATIENCE_S, environment

__all__ = ["NOBODY", "command", "environment_of_nobody", "halfopen", "python", "setpriv"]


def setpriv(*capabilities: str) -> list[str]:
    """The words before a command (bpf, perfmon, net_admin …: as setpriv of util-linux names them)."""
    plus = "".join(f",+{name}" for name in capabilities)
    kept = [f"--inh-caps=-all{plus}", f"--ambient-caps=-all{plus}", f"--bounding-set=-all{plus}"]
    return [*readable.AS_NOBODY, *kept]


def command(*words: str, capabilities: tuple[str, ...] = ()) -> list[str]:
    """`halfopen` with these words, as nobody with these capabilities; its environment is `environment_of_nobody`."""
    return [*setpriv(*capabilities), readable.python(), "-m", "halfopen", *words]


def environment_of_nobody(**more: str) -> Mapping[str, str]:
    """The environment of a child that runs this checkout's halfopen as nobody."""
    return environment(HOME="/nonexistent", PYTHONPATH=readable.path(), **more)


def python(code: str, *capabilities: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with this checkout's halfopen as nobody with these capabilities."""
    return _run([*setpriv(*capabilities), readable.python(), "-c", code], variables)


def halfopen(*words: str, capabilities: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `halfopen` with these words as nobody with these capabilities."""
    return _run(command(*words, capabilities=capabilities), variables)


def _run(words: list[str], variables: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=environment_of_nobody(**variables),
        cwd=os.sep,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
