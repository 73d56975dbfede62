"""Reading history by short, separate selects, so that a reader never delays the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import msgspec
from msgspec import Struct

from halfopen.core.errors import DAMAGED, HistoryError, UnknownTarget, UsageError
from halfopen.core.history import (
    MAGNITUDES,
    KeptSeries,
    ReleaseSeen,
    SettingChanged,
    Slot,
    Tier,
    WatchedSpan,
)
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.units import shell_word
from halfopen.core.where import Namespace
from halfopen.store import schema
from halfopen.store.database import HistoryPlace, open_to_read, problem

_PLACE: Final = "boot, inode, cookie, netns, path, lives_in, family, address, port, ifindex"
# The most rows of a kind in an answer; the latest are kept.
ROWS_MOST: Final = 1_000_000
_ID_PART_LEAST: Final = 4
# The most places in one condition.
_PLACES_MOST: Final = 1000


class HistoryWanted(Struct, frozen=True):
    """A question: from since_s to until_s (since 1970), of namespaces with this name, PATH or inode (None: all), of
    listeners at one of these (address, port) (empty: all; no address or the wildcard matches any).
    """

    since_s: float
    until_s: float
    netns: str | None = None
    listeners: tuple[tuple[str | None, int], ...] = ()

    def means(self, where: Namespace, listener: Subject) -> bool:
        """Whether a place is asked for. A question for a listener includes trouble of its namespace as a whole."""
        if self.netns is not None and self.netns not in (where.name, where.path, str(where.inode)):
            return False
        if not self.listeners or listener is None:
            return True
        return any(port == listener[2] and address in (None, listener[1]) for address, port in self.listeners)


class History:
    """An open history file, read-only; use it in a `with`. Every method raises HistoryError."""

    def __init__(self, place: HistoryPlace) -> None:
        """Raises: HistoryError, NotPermitted, UnknownTarget."""
        self.place = place
        self._db = open_to_read(place)
        self._places = {row[0]: _place(row[1:]) for row in self._all(f"SELECT id, {_PLACE} FROM places")}  # noqa: S608

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def incidents(self, wanted: HistoryWanted) -> list[Incident]:
        """The incidents during that time, including rises that passed, the earliest first."""
        rows = self._all(
            "SELECT document FROM incidents WHERE began < ? AND coalesce(ended, began) >= ? ORDER BY began LIMIT ?",
            wanted.until_s,
            wanted.since_s,
            ROWS_MOST,
        )
        found = [self._incident(document) for (document,) in rows]
        return [one for one in found if wanted.means(one.where, one.listener)]

    def unfinished(self) -> list[Incident]:
        """The incidents whose end was not recorded, the earliest first."""
        rows = self._all("SELECT document FROM incidents WHERE ended IS NULL ORDER BY began LIMIT ?", ROWS_MOST)
        return [self._incident(document) for (document,) in rows]

    def incident(self, id: str) -> Incident:
        """The incident with this id, or the only one whose id begins or ends with it.

        Raises: UnknownTarget, UsageError.
        """
        rows = self._all("SELECT document FROM incidents WHERE id = ?", id)
        if not rows and len(id) >= _ID_PART_LEAST:
            rows = self._all(
                "SELECT document FROM incidents WHERE substr(id, 1, length(?)) = ? OR substr(id, -length(?)) = ? "
                "ORDER BY began LIMIT 3",
                *(id, id, id, id),
            )
        if not rows:
            file = self.place.file
            raise UnknownTarget(
                f"there is no incident {id!r} in {file}",
                hint=f"halfopen history --since 30d --file {shell_word(file)} lists those of the last 30 days",
            )
        if len(rows) > 1:
            names = " and ".join(self._incident(document).id for (document,) in rows[:2])
            raise UsageError(f"{id!r} is part of several ids: {names}", hint="give more of it")
        return self._incident(rows[0][0])

    def releases(self, wanted: HistoryWanted, incident: str | None = None) -> list[ReleaseSeen]:
        """The releases of that time, or those made during one incident, the earliest first."""
        rows = self._all(
            "SELECT at, place, filter, reason, incidents, policy, document FROM releases WHERE at >= ? AND at < ? "
            "ORDER BY at LIMIT ?",
            wanted.since_s,
            wanted.until_s,
            ROWS_MOST,
        )
        found = []
        for at_s, place, filter, reason, incidents, policy, document in rows:
            where, _ = self._places.get(place, _GONE)
            ids = tuple(incidents.split())
            if wanted.means(where, None) and (incident is None or incident in ids):
                found.append(ReleaseSeen(where, at_s, filter, reason, self._outcome(document), ids, policy))
        return found

    def settings(self, wanted: HistoryWanted) -> list[SettingChanged]:
        """The settings that changed in that time, the earliest first."""
        rows = self._all(
            "SELECT place, at, name, before, after FROM settings WHERE at >= ? AND at < ? ORDER BY at LIMIT ?",
            wanted.since_s,
            wanted.until_s,
            ROWS_MOST,
        )
        found = [SettingChanged(self._places.get(place, _GONE)[0], *rest) for place, *rest in rows]
        return [one for one in found if wanted.means(one.where, None)]

    def spans(self, wanted: HistoryWanted) -> list[WatchedSpan]:
        """When namespaces were watched, limited to that time."""
        rows = self._all(
            "SELECT s.place, max(s.began, ?), min(coalesce(s.ended, r.ended), ?) FROM spans s JOIN runs r "
            "ON r.id = s.run WHERE s.began < ? AND coalesce(s.ended, r.ended) >= ? ORDER BY s.began LIMIT ?",
            wanted.since_s,
            wanted.until_s,
            wanted.until_s,
            wanted.since_s,
            ROWS_MOST,
        )
        found = [WatchedSpan(self._places.get(place, _GONE)[0], began_s, ended_s) for place, began_s, ended_s in rows]
        return [one for one in found if wanted.means(one.where, None)]

    def series(self, wanted: HistoryWanted, tier: Tier, *, listeners: bool = True) -> list[KeptSeries]:
        """The values of that time in one tier. The end, which is not rolled up yet, is computed from finer tiers.
        listeners: also the values of listeners, not only of namespaces.
        """
        slots: dict[int, list[Slot]] = {}
        for series, slot in self._slots(wanted.since_s, wanted.until_s, tier, self._meant(wanted, listeners)):
            slots.setdefault(series, []).append(slot)
        found = []
        for series, those in sorted(slots.items()):
            where, listener = self._places.get(series >> schema.MAGNITUDE_BITS, _GONE)
            if wanted.means(where, listener) and (listeners or listener is None):
                magnitude = MAGNITUDES[series & ((1 << schema.MAGNITUDE_BITS) - 1)]
                found.append(KeptSeries(where, listener, magnitude, tuple(those)))
        return found

    def tier(self, since_s: float, until_s: float, most: int) -> Tier:
        """The finest tier that covers that time with at most `most` slots, as far as values are kept."""
        for tier, coarser in ((Tier.SECONDS, Tier.MINUTES), (Tier.MINUTES, Tier.HOURS)):
            if (until_s - since_s) / tier.step_s <= most and not self._older(tier, coarser, since_s):
                return tier
        return Tier.HOURS

    def _older(self, tier: Tier, coarser: Tier, since_s: float) -> bool:
        """Whether a coarser tier still has values of that time that the finer one has deleted."""
        oldest = self._all(f"SELECT min(id) FROM {tier.value}")[0][0]  # noqa: S608
        oldest_s = 2**33 if oldest is None else (oldest >> schema.SERIES_BITS) // coarser.step_s * coarser.step_s
        return bool(
            self._all(
                f"SELECT 1 FROM {coarser.value} WHERE id >= ? AND id < ? LIMIT 1",  # noqa: S608
                schema.value_id(int(since_s), 0, 0),
                schema.value_id(oldest_s, 0, 0),
            )
        )

    def _meant(self, wanted: HistoryWanted, listeners: bool) -> str:
        """An SQL condition that excludes other places; empty if that would exclude few."""
        meant = [
            id
            for id, (where, listener) in self._places.items()
            if wanted.means(where, listener) and (listeners or listener is None)
        ]
        if len(meant) > _PLACES_MOST or len(meant) == len(self._places):
            return ""
        return f" AND (id & {schema.SERIES_MASK}) >> {schema.MAGNITUDE_BITS} IN ({','.join(map(str, meant))})"

    def _slots(self, since_s: float, until_s: float, tier: Tier, meant: str = "") -> Iterator[tuple[int, Slot]]:
        step, first = tier.step_s, int(since_s) // tier.step_s * tier.step_s
        last = first - step
        until = schema.value_id(int(until_s) + 1, 0, 0)
        rows = self._all(
            f"SELECT id, min, max, sum, last, count FROM {tier.value} WHERE id >= ? AND id < ?{meant} "  # noqa: S608
            "ORDER BY id LIMIT ?",
            schema.value_id(first, 0, 0),
            until,
            ROWS_MOST,
        )
        for id, *numbers in rows:
            last = max(last, id >> schema.SERIES_BITS)
            yield id & schema.SERIES_MASK, Slot(id >> schema.SERIES_BITS, step, *numbers)
        if tier.finer is None:
            return
        rest: dict[tuple[int, int], Slot] = {}
        for series, fine in self._slots(max(since_s, last + step), until_s, tier.finer, meant):
            key = fine.at_s // step * step, series
            rest[key] = _joined(rest.get(key), fine, key[0], step)
        for (_, series), slot in sorted(rest.items()):
            yield series, slot

    def _all(self, query: str, *values: Any) -> list[Any]:
        """All rows of a select at once, so that it has ended before anything else is done."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as e:
            raise problem(self.place.file, e) from None

    def _incident(self, document: str) -> Incident:
        try:
            return _INCIDENTS.decode(document)
        except DAMAGED as e:
            raise HistoryError(f"an incident in {self.place.file} is damaged: {e}") from None

    def _outcome(self, document: str) -> dict[str, Any]:
        try:
            outcome: dict[str, Any] = _OUTCOMES.decode(document)
        except DAMAGED as e:
            raise HistoryError(f"a release in {self.place.file} is damaged: {e}") from None
        return outcome


_INCIDENTS: Final = msgspec.json.Decoder(Incident)
_OUTCOMES: Final = msgspec.json.Decoder(dict[str, Any])
_GONE: Final[tuple[Namespace, Subject]] = (Namespace("", 0, name="?"), None)


def _place(row: tuple[Any, ...]) -> tuple[Namespace, Subject]:
    boot, inode, cookie, netns, path, lives_in, family, address, port, ifindex = row
    where = Namespace(boot, inode, cookie or None, netns, path, lives_in)
    return where, ((family, address, port, ifindex) if family else None)


def _joined(whole: Slot | None, fine: Slot, at_s: int, step: int) -> Slot:
    if whole is None:
        return Slot(at_s, step, fine.min, fine.max, fine.sum, fine.last, fine.count)
    return Slot(
        at_s,
        step,
        min(whole.min, fine.min),
        max(whole.max, fine.max),
        whole.sum + fine.sum,
        fine.last,
        whole.count + fine.count,
    )
