"""Rolls values up from seconds to minutes to hours and deletes old ones, in small steps, each within a transaction of
the writer.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from halfopen.core.history import Retention, Tier
from halfopen.store import schema
from halfopen.store.schema import SERIES_MASK

# How many old rows of a table are deleted in one transaction: a few milliseconds.
SLICE: Final = 5_000
# How many free pages of 4 KiB are returned to the file system at a time.
_PAGES: Final = 256


def roll_up(db: sqlite3.Connection, tier: Tier, slot: int) -> None:
    """Compute one slot of minutes or hours (its number since 1970) from the finer tier. Raises: sqlite3.Error.

    May be repeated; a slot whose finer values are gone is left as it is.
    """
    finer = tier.finer
    if finer is None:
        raise ValueError("seconds are made of nothing")
    began_s = slot * tier.step_s
    first, end = schema.value_id(began_s, 0, 0), schema.value_id(began_s + tier.step_s, 0, 0)
    # The text is the same each time, as Python caches 128 statements, of 15 KB each, and one a minute would fill the
    # cache. A bare column beside a single max() comes from the row of the maximum, so `last` is that of the latest row
    # (sqlite.org/lang_select.html#bareagg). That does not hold with another aggregate, so those are selected
    # separately.
    db.execute(
        f"INSERT OR REPLACE INTO {tier.value} "  # noqa: S608  (the names are ours)
        f"SELECT ? | (id & {SERIES_MASK}), lowest, highest, total, last, n FROM ("
        f"SELECT max(id) AS id, last, (SELECT 0) AS unused FROM {finer.value} WHERE id >= ? AND id < ? "
        f"GROUP BY id & {SERIES_MASK}) JOIN ("
        f"SELECT id & {SERIES_MASK} AS series, min(min) AS lowest, max(max) AS highest, sum(sum) AS total, "
        f"sum(count) AS n FROM {finer.value} WHERE id >= ? AND id < ? GROUP BY id & {SERIES_MASK}) "
        f"ON series = id & {SERIES_MASK}",
        (began_s << schema.SERIES_BITS, first, end, first, end),
    )


def not_rolled_up(db: sqlite3.Connection, tier: Tier) -> set[int]:
    """The slots of minutes or hours that a writer may not have computed before it was killed. Raises: sqlite3.Error."""
    finer = tier.finer
    if finer is None:
        return set()
    last = db.execute(f"SELECT max(id) FROM {tier.value}").fetchone()[0]  # noqa: S608
    # The last slot may have been computed before it was over.
    first = 0 if last is None else last >> schema.SERIES_BITS
    found = db.execute(
        f"SELECT DISTINCT (id >> {schema.SERIES_BITS}) / {tier.step_s} FROM {finer.value} WHERE id >= ?",  # noqa: S608
        (schema.value_id(first, 0, 0),),
    )
    return {int(slot) for (slot,) in found}


def expire(db: sqlite3.Connection, now_s: float, keep: Retention) -> bool:
    """Delete rows that are too old, a slice of each table. Returns whether there are more.

    Raises: sqlite3.Error.
    """
    more = False
    for tier in Tier:
        before = schema.value_id(max(0, int(now_s - keep.of(tier))), 0, 0)
        more |= _delete(db, f"{tier.value} WHERE id < ?", "id", before)
    old = now_s - keep.hours_s
    for table, column in (("incidents", "began"), ("releases", "at"), ("settings", "at"), ("runs", "ended")):
        more |= _delete(db, f"{table} WHERE {column} < ?", "rowid", old)
    more |= _delete(db, "spans WHERE coalesce(ended, 0) < ? AND run NOT IN (SELECT id FROM runs)", "id", 2**62)
    more |= _delete(db, "spans WHERE ended < ?", "id", old)
    # Searching the values for places still in use would take long: a place is kept if it was seen within that time.
    more |= _delete(db, "places WHERE seen < ?", "id", int(old // 3600) - 1)
    return more


def _delete(db: sqlite3.Connection, what: str, key: str, limit: float) -> bool:
    table = what.partition(" ")[0]
    done = db.execute(
        f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {what} LIMIT {SLICE})",  # noqa: S608
        (limit,),
    )
    return done.rowcount >= SLICE


def give_back(db: sqlite3.Connection) -> None:
    """Return free pages to the file system. Raises: sqlite3.Error."""
    db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
