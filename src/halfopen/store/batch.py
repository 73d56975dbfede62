"""A batch for the writer of history, with everything of one second, and the statements that write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct, field

from halfopen.core.history import ReleaseSeen, SettingChanged, ValueSeen
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.units import text_only
from halfopen.core.where import Namespace
from halfopen.store import schema

_UPSERT: Final = (
    "INSERT INTO seconds VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET min = min(min, excluded.min), "
    "max = max(max, excluded.max), sum = sum + excluded.sum, last = excluded.last, count = count + 1"
)
_INT64: Final = 2**63 - 1
_NOWHERE: Final = (0, "", 0, 0)


class HistoryBatch(Struct):
    """Everything of a moment, for one transaction. at_s: since 1970.

    watched: namespaces of which every value that is missing was 0 up to now; None: as before.
    """

    at_s: float = 0.0
    values: list[ValueSeen] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    releases: list[ReleaseSeen] = field(default_factory=list)
    settings: list[SettingChanged] = field(default_factory=list)
    watched: frozenset[Namespace] | None = None

    def add(self, later: HistoryBatch) -> None:
        """Add a later batch to this one."""
        self.at_s = later.at_s
        self.values += later.values
        self.incidents.update(later.incidents)
        self.releases += later.releases
        self.settings += later.settings
        self.watched = self.watched if later.watched is None else later.watched


class RowWriter:
    """Writes batches to an open history file, within the transaction of the caller."""

    def __init__(self, db: sqlite3.Connection, version: str, now_s: float) -> None:
        """Begin a run, within a transaction. Raises: sqlite3.Error."""
        self._db = db
        self._places: dict[tuple[Namespace, Subject], int] = {}
        self._seen: dict[int, int] = {}
        self._spans: dict[Namespace, int] = {}
        found = db.execute("INSERT INTO runs (began, ended, version) VALUES (?, ?, ?)", (now_s, now_s, version))
        self._run = found.lastrowid
        self._interrupted = False
        self._hour = 0
        self.minutes: set[int] = set()

    def write(self, batch: HistoryBatch) -> None:
        """Write a batch. Raises: sqlite3.Error: the caller rolls back, and calls `forget`."""
        if self._interrupted:
            # Nothing is known about the time since the last transaction.
            self._db.execute(
                "UPDATE spans SET ended = (SELECT ended FROM runs WHERE id = run) WHERE run = ? AND ended IS NULL",
                (self._run,),
            )
            self._interrupted = False
        self._forget_unseen(int(batch.at_s) // 3600)
        rows = []
        for one in batch.values:
            at_s, value = int(one.at_s), min(one.value, _INT64)
            id = schema.value_id(at_s, self._place(one.where, one.listener, at_s), one.magnitude)
            rows.append((id, value, value, value, value))
            self.minutes.add(at_s // 60)
        if rows:
            self._db.executemany(_UPSERT, rows)
        for incident in batch.incidents.values():
            self._incident(incident)
        self._releases(batch.releases)
        self._settings(batch.settings)
        if batch.watched is not None:
            self._watched(batch.watched, batch.at_s)
        self._db.execute("UPDATE runs SET ended = ? WHERE id = ?", (batch.at_s, self._run))

    def forget(self) -> None:
        """A transaction was rolled back: rows inserted in it do not exist."""
        self._places.clear()
        self._seen.clear()
        self._spans.clear()
        self._interrupted = True

    def _incident(self, one: Incident) -> None:
        place = self._place(one.where, one.listener, int(one.began_s))
        document = _json(one)
        self._db.execute(
            "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?)",
            (one.id, one.began_s, one.alarm_s, one.ended_s, place, one.cause, document),
        )

    def _releases(self, releases: Iterable[ReleaseSeen]) -> None:
        self._db.executemany(
            "INSERT INTO releases (at, place, filter, reason, incidents, policy, document) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.at_s,
                    self._place(one.where, None, int(one.at_s)),
                    one.filter,
                    text_only(one.reason),
                    " ".join(one.incidents),
                    one.policy,
                    _json(one.outcome),
                )
                for one in releases
            ],
        )

    def _settings(self, settings: Iterable[SettingChanged]) -> None:
        self._db.executemany(
            "INSERT INTO settings (at, place, name, before, after) VALUES (?, ?, ?, ?, ?)",
            [
                (one.at_s, self._place(one.where, None, int(one.at_s)), one.name, one.before, one.after)
                for one in settings
            ],
        )

    def _watched(self, watched: frozenset[Namespace], at_s: float) -> None:
        ended = self._spans.keys() - watched
        if ended:
            # Do not keep their ids: in a watch of years, namespaces come and go.
            self._places = {key: id for key, id in self._places.items() if key[0] not in ended}
            there = set(self._places.values())
            self._seen = {id: hour for id, hour in self._seen.items() if id in there}
        for gone in ended:
            self._db.execute("UPDATE spans SET ended = ? WHERE id = ?", (at_s, self._spans.pop(gone)))
        for fresh in watched - self._spans.keys():
            place = self._place(fresh, None, int(at_s))
            row = (self._run, place, at_s)
            self._spans[fresh] = (
                self._db.execute("INSERT INTO spans (run, place, began) VALUES (?, ?, ?)", row).lastrowid or 0
            )

    def _place(self, where: Namespace, listener: Subject, at_s: int) -> int:
        """The id of a place, which is inserted if it is new. Raises: sqlite3.DatabaseError if there are too many."""
        key, hour = (where, listener), at_s // 3600
        id = self._places.get(key)
        if id is None:
            id = self._places[key] = self._found(where, listener, hour)
        if self._seen.get(id) != hour:
            self._seen[id] = hour
            self._db.execute(
                "UPDATE places SET netns = ?, path = ?, lives_in = ?, seen = ? WHERE id = ?",
                (*_names(where), hour, id),
            )
        return id

    def _forget_unseen(self, hour: int) -> None:
        """Drop the ids of places that were not written in the last hour: in a watch of years, listeners come and go."""
        if hour == self._hour:
            return
        self._hour = hour
        self._seen = {id: seen for id, seen in self._seen.items() if seen >= hour - 1}
        self._places = {key: id for key, id in self._places.items() if id in self._seen}

    def _found(self, where: Namespace, listener: Subject, hour: int) -> int:
        identity = (where.boot_id, where.inode, where.cookie or 0, *(_NOWHERE if listener is None else listener))
        found = self._db.execute(
            "SELECT id FROM places WHERE (boot, inode, cookie, family, address, port, ifindex) = (?, ?, ?, ?, ?, ?, ?)",
            identity,
        ).fetchone()
        if found is not None:
            return int(found[0])
        made = self._db.execute(
            "INSERT INTO places (boot, inode, cookie, family, address, port, ifindex, netns, path, lives_in, seen) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*identity, *_names(where), hour),
        ).lastrowid
        if not made or made >= schema.PLACES_MOST:
            raise sqlite3.DatabaseError("it has as many listeners and namespaces as it can")
        return made


def _names(where: Namespace) -> tuple[str, ...]:
    return text_only(where.name), text_only(where.path), text_only(where.lives_in)


def _json(one: object) -> str:
    try:
        return msgspec.json.encode(one).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(text_only(msgspec.to_builtins(one))).decode()
