"""The spool: which receiver must still be told of which incident, on the disk, so that it survives kill -9 and
restarts.

Delivery is decided in memory, and the spool follows, with several changes in one transaction. If the disk is full or
the file is damaged, a line says so, delivery goes on without the spool, and the spool is tried again later.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError
from halfopen.linux import files

_VERSION: Final = 1
# The size limit of the file; 20 MB hold 2,000 incidents of the usual size.
MOST_BYTES: Final = 64 * 1024 * 1024
_PAGE: Final = 4096
_ASIDE: Final = ".damaged"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS incident (
    receiver TEXT NOT NULL, incident TEXT NOT NULL, first REAL NOT NULL, notice BLOB NOT NULL, told BLOB,
    sent INTEGER NOT NULL,
    PRIMARY KEY (receiver, incident)
) WITHOUT ROWID
"""


class SpoolRow(Struct, frozen=True):
    """One incident for one receiver: the at_s of its first notice, the notice to tell, the one told last (None: none),
    and how often it was told.
    """

    receiver: str
    incident: str
    first_s: float
    notice: bytes
    told: bytes | None
    sent: int


class Spool:
    """A spool at `path`, which only one process may open at a time. For use by one thread."""

    def __init__(self, path: str, most_bytes: int = MOST_BYTES) -> None:
        """Raises: HalfopenError if it cannot be opened. A damaged file is renamed (`set_aside`), and its contents are
        lost.
        """
        self._path, self._most_bytes = path, most_bytes
        self.set_aside = False
        try:
            self._open()
        except sqlite3.DatabaseError as e:
            if isinstance(e, sqlite3.OperationalError):
                raise self._problem(e) from None
            self._put_aside()

    def _open(self) -> None:
        try:
            files.make_directory(os.path.dirname(os.path.abspath(self._path)))
            # Created here, because SQLite would apply the umask. The -wal file gets the mode of this one.
            os.close(files.open_to_append(self._path))
        except (OSError, files.Unsafe) as e:
            what, remedy = files.what_and_remedy(e, self._path)
            raise HalfopenError("spool", f"{self._path}: {what}", hint=remedy) from None
        self._db = db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive to this process: no shared-memory file, and no reader that keeps the log from being truncated.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA max_page_count = {self._most_bytes // _PAGE}")
            db.execute(f"PRAGMA journal_size_limit = {self._most_bytes // 4}")
            [(found,)] = db.execute("PRAGMA user_version").fetchall()
            if found > _VERSION:
                raise HalfopenError("spool", f"{self._path}: was written by a later halfopen", hint="move it away")
            if db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise sqlite3.DatabaseError("damaged")
            db.execute(_TABLE)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        except BaseException:
            db.close()
            raise

    def _put_aside(self) -> None:
        self.set_aside = True
        try:
            os.replace(self._path, self._path + _ASIDE)
            for more in ("-wal", "-shm"):
                if os.path.lexists(self._path + more):
                    os.unlink(self._path + more)
            self._open()
        except (sqlite3.Error, OSError) as e:
            raise self._problem(e) from None

    def rows(self) -> list[SpoolRow]:
        """All rows. Raises: HalfopenError."""
        try:
            found = self._db.execute("SELECT receiver, incident, first, notice, told, sent FROM incident").fetchall()
        except sqlite3.Error as e:
            raise self._problem(e) from None
        return [SpoolRow(*row) for row in found]

    def write(self, put: Iterable[SpoolRow], remove: Sequence[tuple[str, str]], *, anew: bool = False) -> None:
        """Write rows and remove others (by receiver and incident) in one transaction. anew: remove all other rows.

        Raises: HalfopenError; nothing has changed then.
        """
        rows = [(row.receiver, row.incident, row.first_s, row.notice, row.told, row.sent) for row in put]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if anew:
                    self._db.execute("DELETE FROM incident")
                self._db.executemany("DELETE FROM incident WHERE receiver = ? AND incident = ?", remove)
                self._db.executemany("INSERT OR REPLACE INTO incident VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise self._problem(e) from None

    def close(self) -> None:
        """Write the log into the file, and close it."""
        try:
            self._db.close()
        except sqlite3.Error:
            pass

    def _problem(self, e: Exception) -> HalfopenError:
        text = str(e)
        hint = "make room" if "full" in text else "another halfopen delivers from it" if "locked" in text else ""
        return HalfopenError("spool", f"{self._path}: {text}", hint=hint)
