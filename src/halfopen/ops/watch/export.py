"""The metrics of a watch, made after its readings and passed to outputs: a file, a socket."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.watched import Watching
from halfopen.core.metrics_text import MetricsText
from halfopen.core.reports import Begun, Decided, Did, Ended, Reading, Reloaded, Report, Round, Trouble
from halfopen.linux import small_files
from halfopen.ops.watch.handshake_times import WatchedTimes
from halfopen.present.metrics import Metrics

# The largest share of the time for writing: a thousand listeners are eight thousand lines.
_SHARE: Final = 0.05
# The share of processor time is smaller, but never makes the text older than fifteen seconds, a usual interval between
# scrapes: while nothing is half-open, no change is urgent. Passing the text on (in the service, to the other process)
# takes longer than making it, and does not count.
_CPU_SHARE: Final = 0.005
_IDLE_SHARE: Final = 0.00015
_MOST_S: Final = 15.0
_STATM: Final = "/proc/self/statm"


class Output(Protocol):
    """An output for the text of all metrics."""

    def write(self, text: MetricsText) -> None:
        """Replace the last text. Raises: HalfopenError; the last text then stays."""

    def close(self) -> None:
        """No more texts come."""


class Export:
    """Writes the metrics of a watch to its outputs, after every round or as often as its share of the time allows."""

    def __init__(
        self, outputs: Sequence[Output], version: str = "", about: Callable[[Watching], None] | None = None
    ) -> None:
        """version: of halfopen. about: fills in further metrics about the watch. Raises: HalfopenError if an output
        cannot be written.
        """
        self._outputs, self._about = outputs, about
        watching = Watching(version, os.uname().release, began=time.time())
        self._metrics = Metrics(watching)
        self._times = WatchedTimes()
        text = self._text()
        for output in outputs:
            output.write(text)
        self._failed: set[Output] = set()
        self._behind = False
        # When the next text is due: while anything happens, and while nothing does.
        self._next, self._idle_next = 0.0, 0.0
        self._busy = False

    def take(self, event: Report) -> Trouble | None:
        """Process a report. Returns the trouble of an output, once when it begins."""
        match event:
            case Begun() | Reloaded():
                self._metrics.watching.interval_s = event.interval_s
            case Reading():
                self._metrics.reading(event.model, event.verdict, event.seconds)
                self._busy |= bool(event.model.half_open or event.incidents)
            case Did():
                self._metrics.released(event.outcome)
                self._busy = True
            case Decided():
                self._metrics.alarm(event.action)
                self._busy = True
            case Round():
                self._metrics.round(event.watched, event.troubled)
                self._times.watch({where.inode for where in event.watched})
                self._behind = True
                return self._write() if time.monotonic() >= self._due() else None
            case Ended():
                trouble = self._write() if self._behind else None
                self._times.close()
                for output in self._outputs:
                    output.close()
                return trouble
        return None

    def _due(self) -> float:
        return self._next if self._busy else self._idle_next

    def _text(self) -> MetricsText:
        watching = self._metrics.watching
        watching.cpu_s, watching.memory_bytes = time.process_time(), _resident()
        if self._about is not None:
            self._about(watching)
        try:
            self._metrics.handshakes(self._times.read())
            watching.handshakes = self._times.counting
        except HalfopenError:
            self._metrics.handshakes({})
            watching.handshakes = False
        return self._metrics.text()

    def _write(self) -> Trouble | None:
        began, used_s = time.monotonic(), time.thread_time()
        self._behind = False
        trouble, text = None, self._text()
        for output in self._outputs:
            try:
                output.write(text)
                self._failed.discard(output)
            except HalfopenError as e:
                # One trouble at a time; another one is reported with the next text.
                if output not in self._failed and trouble is None:
                    self._failed.add(output)
                    trouble = Trouble("metrics", e)
        now, used_s = time.monotonic(), time.thread_time() - used_s
        least_s = (now - began) * (1 / _SHARE - 1)
        self._next, self._idle_next = (
            now + max(least_s, min(used_s * (1 / share - 1), _MOST_S)) for share in (_CPU_SHARE, _IDLE_SHARE)
        )
        self._busy = False
        return trouble


def _resident() -> int | None:
    """The resident memory of this process in bytes; None without /proc."""
    words = (small_files.read(_STATM) or b"").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else None
