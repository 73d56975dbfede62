"""A CPU quota for a scene's processes: a cgroup of its own, gone at the end."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from halfopen.core.errors import Unsupported

_V1: Final = Path("/sys/fs/cgroup/cpu")
_V2: Final = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 100_000
_NAME: Final = "halfopen-lab-"
_GONE_S: Final = 2.0


class Throttle:
    """Limits `pids` to `share` of one CPU. Raises: Unsupported if no cgroup can be created here."""

    def __init__(self, pids: list[int], share: float) -> None:
        """share: of one processor, from 0 to 1. Raises: Unsupported."""
        v2 = "cpu" in _text(_V2 / "cgroup.subtree_control").split()
        home = _V2 if v2 else _V1
        if not v2 and not (_V1 / "cpu.cfs_quota_us").parent.is_dir():
            raise Unsupported("cgroup cpu", "this machine gives no CPU quota (no cgroup with the cpu controller)")
        _sweep(home)
        self._path = home / f"{_NAME}{os.getpid()}-{pids[0]}"
        quota_us = max(1000, int(share * _PERIOD_US))
        try:
            self._path.mkdir()
            if v2:
                (self._path / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
            else:
                (self._path / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                (self._path / "cpu.cfs_quota_us").write_text(str(quota_us))
            for pid in pids:
                (self._path / "cgroup.procs").write_text(str(pid))
        except OSError as e:
            self._remove()
            raise Unsupported(
                "cgroup cpu", f"no CPU quota can be set in {home}: {e.strerror}", hint="run as root"
            ) from e

    @property
    def throttled(self) -> int:
        """How many periods the kernel has throttled it in."""
        words = _text(self._path / "cpu.stat").split()
        return int(words[words.index("nr_throttled") + 1]) if "nr_throttled" in words else 0

    def close(self) -> None:
        """Move the processes back and remove the cgroup."""
        for pid in _text(self._path / "cgroup.procs").split():
            with contextlib.suppress(OSError):
                (self._path.parent / "cgroup.procs").write_text(pid)
        self._remove()

    def _remove(self) -> None:
        deadline = time.monotonic() + _GONE_S
        while self._path.is_dir() and time.monotonic() < deadline:
            try:
                self._path.rmdir()
            except OSError:
                time.sleep(0.02)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _sweep(home: Path) -> None:
    """Remove cgroups that killed labs left here."""
    for left in home.glob(f"{_NAME}*"):
        owner = left.name[len(_NAME) :].split("-")[0]
        if not os.path.exists(f"/proc/{owner}"):
            with contextlib.suppress(OSError):
                left.rmdir()
