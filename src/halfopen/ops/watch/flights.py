"""Choosing the readings of a watch that are recorded: from a minute before an incident to a minute after its end.

The last minute of every namespace is kept in memory, so that the record of an alarm begins before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct, field

from halfopen.core.flight import (
    AROUND_S,
    FlightEntry,
    FlightHead,
    FlightReading,
    FlightReleased,
    FlightTold,
    FlightWithheld,
    size_of,
)
from halfopen.core.policy.incidents import Incident
from halfopen.core.where import Namespace

# A rise may last; what was seen since it began is held as long as this allows.
_HELD_MOST: Final = 300
HELD_BYTES_MOST: Final = 32 * 1024 * 1024
"""The limit of readings in memory for all namespaces together, bytes."""
# After the alarm, every reading is recorded for this long, then one in this many seconds until the end, and after that
# every one again.
_DENSE_S: Final = 300.0
_SPARSE_S: Final = 10.0

Append = Callable[[Sequence[str], Sequence[FlightEntry]], None]


class _Held(Struct):
    """The last minute of a namespace: entries with their numbers and times. bytes: of all entries."""

    entries: deque[tuple[int, float, FlightEntry]] = field(default_factory=deque)
    last: FlightReading | None = None
    bytes: int = 0


class _Record(Struct):
    """A record that is being written. since_s: of the alarm. until_s: the end of the record; None: the incident is on.
    written: the number of its last entry. watched: the filter noted in it. sparse_s: the time of its last reading.
    """

    where: Namespace
    since_s: float
    until_s: float | None = None
    written: int = 0
    watched: str | None = None
    sparse_s: float = 0.0


class Flights:
    """Keeps recent readings, and once a round calls `append` with the entries to record and their incidents."""

    def __init__(self, append: Append, version: str = "") -> None:
        self._append, self._version = append, version
        self.watched = ""  # the filter of the watch, as options
        self._of: dict[Namespace, _Held] = {}
        self._records: dict[str, _Record] = {}
        self._rising: dict[Namespace, float] = {}
        self._number = 0
        self._bytes = 0

    def reading(self, where: Namespace, one: FlightReading, on: Collection[Incident]) -> None:
        """Note a reading of a namespace, or a glance. on: the open incidents there."""
        held = self._of.setdefault(where, _Held())
        held.last = one
        if not one.glance:
            fresh = [i for i in on if i.id not in self._records]
            self._rising[where] = min((one.at_s - i.lasted_s for i in fresh), default=one.at_s)
        self._hold(held, one.at_s, one, size_of(one))
        self._trim(where, held, one.at_s)

    def told(self, where: Namespace, entry: FlightTold | FlightReleased | FlightWithheld) -> None:
        """Note a report or an action in a namespace, after the last reading."""
        held = self._of.get(where)
        if held is not None and held.last is not None:
            self._hold(held, held.last.at_s, entry, 0)

    def incident(self, one: Incident, at_s: float) -> None:
        """Note the present state of an incident. at_s: monotonic."""
        record = self._records.get(one.id)
        if record is None and one.alarm_s is not None and not one.over:
            self._records[one.id] = _Record(one.where, at_s)
        elif record is not None and one.over:
            record.until_s = at_s + AROUND_S

    def round(self, watched: Collection[Namespace]) -> None:
        """End a round: pass on what is to be written."""
        by_entries: dict[tuple[Namespace, int, bool], list[str]] = {}
        for id, record in list(self._records.items()):
            held = self._of.get(record.where)
            if held is None or not held.entries:
                if record.where not in watched:
                    del self._records[id]
                continue
            self._write(id, record, held, by_entries)
        for (where, after, _), ids in by_entries.items():
            entries = [entry for number, _, entry in self._of[where].entries if number > after]
            self._append(ids, entries)
        for gone in [where for where in self._of if where not in watched]:
            self._bytes -= self._of.pop(gone).bytes
            self._rising.pop(gone, None)

    def _write(
        self, id: str, record: _Record, held: _Held, by_entries: dict[tuple[Namespace, int, bool], list[str]]
    ) -> None:
        number, now_s, _ = held.entries[-1]
        if number == record.written:
            if record.until_s is not None and now_s >= record.until_s:
                del self._records[id]
            return
        if record.watched != self.watched:
            record.watched = self.watched
            self._append([id], [FlightHead(id, self._version, self.watched)])
        sparse = record.until_s is None and now_s - record.since_s > _DENSE_S
        if sparse and now_s - record.sparse_s < _SPARSE_S:
            return
        # During a long incident, record one reading now and then, and each one at which something was reported.
        if sparse:
            after = next((n for n, at_s, e in reversed(held.entries) if isinstance(e, FlightReading)), number) - 1
            record.sparse_s = now_s
            kept = [e for n, _, e in held.entries if record.written < n <= after and not isinstance(e, FlightReading)]
            self._append([id], kept)
        else:
            after = record.written
        by_entries.setdefault((record.where, after, sparse), []).append(id)
        record.written = number
        if record.until_s is not None and now_s >= record.until_s:
            del self._records[id]

    def _hold(self, held: _Held, at_s: float, entry: FlightEntry, size: int) -> None:
        self._number += 1
        held.entries.append((self._number, at_s, entry))
        held.bytes += size
        self._bytes += size

    def _trim(self, where: Namespace, held: _Held, now_s: float) -> None:
        since_s = self._rising.get(where, now_s) - AROUND_S
        while len(held.entries) > 1 and (
            held.entries[0][1] < since_s or len(held.entries) > _HELD_MOST or self._bytes > HELD_BYTES_MOST
        ):
            _, _, entry = held.entries.popleft()
            if isinstance(entry, FlightReading):
                size = size_of(entry)
                held.bytes -= size
                self._bytes -= size
