"""The metrics of a watch in their file, which is replaced as a whole, so that no reader meets half of one."""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.reports import Decided, Did, Ended, Reading, Report, Round, Trouble
from halfopen.linux.files import what_and_remedy
from halfopen.linux.replacing import replace
from halfopen.present.metrics import Metrics

_SUFFIX: Final = ".prom"
# Another user's node_exporter reads the file.
_MODE: Final = 0o644
# Writing may take this share of the time at most: a thousand listeners are eight thousand lines.
_SHARE: Final = 0.05
# Of processor time less, but the file is never more than fifteen seconds old for that: as often as it is scraped.
_CPU_SHARE: Final = 0.005
_MOST_S: Final = 15.0


class MetricsFile:
    """A file at `path`, which must end in .prom: node_exporter reads no other."""

    def __init__(self, path: str) -> None:
        """Raises: UsageError."""
        directory, name = os.path.split(path)
        if not name.endswith(_SUFFIX) or name == _SUFFIX:
            raise UsageError(
                f"--metrics-file {path!r} does not end in {_SUFFIX}",
                hint="node_exporter's textfile collector reads only such files; give a name like halfopen.prom",
            )
        self._path, self._directory, self._name = path, directory or ".", name

    def write(self, text: bytes) -> None:
        """Replace the file. Raises: HalfopenError; the file is then as it was."""
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise self._problem(e) from None
        try:
            # node_exporter does not read a file whose name does not end in .prom.
            replace(directory, self._name, text, new=f".{self._name}.new", mode=_MODE)
        except OSError as e:
            raise self._problem(e) from None
        finally:
            os.close(directory)

    def _problem(self, error: OSError) -> HalfopenError:
        what, remedy = what_and_remedy(error, self._path, "name another file")
        if error.errno == errno.ENOENT:
            remedy = "make its directory first, or name another file"
        return HalfopenError("metrics-file", f"{self._path}: {what}", hint=remedy)


class Export:
    """What a watch reports, kept in a `MetricsFile`: after every round, or as often as its share of the time allows."""

    def __init__(self, path: str) -> None:
        """Raises: UsageError, HalfopenError when the file cannot be written."""
        self._metrics, self._file = Metrics(), MetricsFile(path)
        self._file.write(self._metrics.text())
        self._failed = False
        self._behind = False
        self._next = 0.0

    def take(self, event: Report) -> Trouble | None:
        """Take in a report. Returns what went wrong with the file, once when that begins."""
        match event:
            case Reading():
                self._metrics.reading(event.model, event.verdict)
            case Did():
                self._metrics.released(event.outcome)
            case Decided():
                self._metrics.alarm(event.action)
            case Round():
                self._metrics.round(event.watched, event.troubled)
                self._behind = True
                return self._write() if time.monotonic() >= self._next else None
            case Ended():
                return self._write() if self._behind else None
        return None

    def _write(self) -> Trouble | None:
        began, used_s = time.monotonic(), time.thread_time()
        before, self._failed, self._behind = self._failed, False, False
        try:
            self._file.write(self._metrics.text())
        except HalfopenError as e:
            self._failed = True
            return None if before else Trouble("metrics", e)
        now = time.monotonic()
        pause_s = min((time.thread_time() - used_s) * (1 / _CPU_SHARE - 1), _MOST_S)
        self._next = now + max(pause_s, (now - began) * (1 / _SHARE - 1))
        return None
