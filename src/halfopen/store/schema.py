"""The tables of the history file, and the migration of files of earlier versions."""

from __future__ import annotations

import sqlite3
from typing import Final

# "hOpn", in the header of the file (`PRAGMA application_id`): whose it is.
APPLICATION_ID: Final = 0x684F706E

# The id of a value combines its time slot and its series, so that rows are in the order of time: a stretch of time is a
# range of ids, new rows are appended, and no further index is needed.
SERIES_BITS: Final = 24
SERIES_MASK: Final = (1 << SERIES_BITS) - 1
MAGNITUDE_BITS: Final = 3
PLACES_MOST: Final = 1 << (SERIES_BITS - MAGNITUDE_BITS)

_VALUES: Final = """
CREATE TABLE {} (
    id INTEGER PRIMARY KEY,  -- (start of the slot, s since 1970) << 24 | place << 3 | magnitude
    min INTEGER NOT NULL, max INTEGER NOT NULL, sum INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL
);
"""

_FIRST: Final = (
    """
CREATE TABLE places (        -- network namespaces, and listeners in them
    id INTEGER PRIMARY KEY,
    boot TEXT NOT NULL, inode INTEGER NOT NULL, cookie INTEGER NOT NULL,             -- cookie 0: not known
    family INTEGER NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, ifindex INTEGER NOT NULL,  -- 0: none
    netns TEXT NOT NULL, path TEXT NOT NULL, lives_in TEXT NOT NULL,                 -- the latest names, for people
    seen INTEGER NOT NULL,                                                           -- the last hour it was needed
    UNIQUE (boot, inode, cookie, family, address, port, ifindex)
);
CREATE TABLE runs (          -- each time a watch was begun
    id INTEGER PRIMARY KEY, began REAL NOT NULL, ended REAL NOT NULL, version TEXT NOT NULL
);
CREATE TABLE spans (         -- when a namespace was watched; ended NULL: as long as the run
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, place INTEGER NOT NULL, began REAL NOT NULL, ended REAL
);
CREATE TABLE incidents (
    id TEXT PRIMARY KEY, began REAL NOT NULL, alarm REAL, ended REAL, place INTEGER NOT NULL, cause TEXT NOT NULL,
    document TEXT NOT NULL   -- core.policy.incidents.Incident as JSON
);
CREATE INDEX incidents_began ON incidents (began);
CREATE TABLE releases (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, place INTEGER NOT NULL, filter TEXT NOT NULL, reason TEXT NOT NULL,
    incidents TEXT NOT NULL, document TEXT NOT NULL  -- ids with a space between; halfopen.release/1 of one namespace
);
CREATE INDEX releases_at ON releases (at);
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, before INTEGER, after INTEGER
);
CREATE INDEX settings_at ON settings (at);
"""
    + _VALUES.format("seconds")
    + _VALUES.format("minutes")
    + _VALUES.format("hours")
)

# Which policy decided a release; "" for none.
_POLICY: Final = "ALTER TABLE releases ADD COLUMN policy TEXT NOT NULL DEFAULT '';"

# The n-th migrates from version n - 1 to n.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _POLICY)
VERSION: Final = len(MIGRATIONS)


def value_id(at_s: int, place: int, magnitude: int) -> int:
    """The id of a value in a tier."""
    return at_s << SERIES_BITS | place << MAGNITUDE_BITS | magnitude


def parts_of(id: int) -> tuple[int, int, int]:
    """The start of the slot, the place and the magnitude in the id of a value."""
    series = id & SERIES_MASK
    return id >> SERIES_BITS, series >> MAGNITUDE_BITS, series & ((1 << MAGNITUDE_BITS) - 1)


def migrate(db: sqlite3.Connection) -> None:
    """Migrate an empty file, or one of an earlier version, to VERSION, each step in a transaction.

    Raises: sqlite3.Error; the file is then at the version of the last complete step.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        # executescript() commits an open transaction first, so BEGIN and COMMIT are part of the script.
        db.executescript(
            f"BEGIN IMMEDIATE;{script};PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {number};COMMIT;"
        )
