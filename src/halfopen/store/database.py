"""Opening the history file to write or to read, and the errors about it."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from halfopen.core.errors import HalfopenError, HistoryError, NotPermitted, UnknownTarget
from halfopen.linux import files
from halfopen.store import schema

ENVIRONMENT: Final = "HALFOPEN_HISTORY"
"""The default place of the service's history."""
_NAME: Final = "history.db"
_DIRECTORY_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
_HEADER: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
# How long to wait for a lock: readers hold it for milliseconds, another watch forever.
_WAIT_S: Final = 2.0
# After a checkpoint, which SQLite makes every thousand pages, the -wal file is truncated to this size.
_WAL_BYTES: Final = 4 * 1024 * 1024


class HistoryPlace(Struct, frozen=True):
    """The place of a history: the file, and the directory of flight records of incidents."""

    file: str
    flights: str

    @staticmethod
    def of(path: str) -> HistoryPlace:
        """The place for a path: a directory if it is one or ends with a slash, otherwise a file."""
        if path.endswith("/") or os.path.isdir(path):
            return HistoryPlace(os.path.join(path, _NAME), os.path.join(path, "incidents"))
        return HistoryPlace(path, f"{path}-incidents")


def prepare(place: HistoryPlace, group: int | None) -> None:
    """Create the directories (0750), and check that no other user could replace the file. group: gid of the
    directories.

    Raises: HistoryError, NotPermitted.
    """
    try:
        for directory in (os.path.dirname(os.path.abspath(place.file)), place.flights):
            there = os.path.isdir(directory)
            files.make_directory(directory)
            if not there:
                os.chmod(directory, _DIRECTORY_MODE)
                if group is not None:
                    os.chown(directory, -1, group)
        if os.path.islink(place.file):
            raise files.Unsafe("it is a symbolic link", "remove it")
    except (OSError, ValueError, files.Unsafe) as e:
        raise problem(place.file, e) from None


def open_to_write(place: HistoryPlace, group: int | None = None) -> sqlite3.Connection:
    """The history file, created (0640) if missing, and migrated to this version. For one thread at a time.

    Raises: HistoryError: it is another program's, of a later version, damaged, or the disk is full.
    NotPermitted.
    """
    path = place.file
    try:
        if not os.path.lexists(path):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE))
            os.chmod(path, _FILE_MODE)
            if group is not None:
                os.chown(path, -1, group)
        _check_header(path)
        # isolation_level None: the writer begins and ends transactions itself.
        db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError, sqlite3.Error) as e:
        raise problem(path, e) from None
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of an empty file alone
        db.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the last transactions, but does not damage the file (sqlite.org/wal.html).
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        db.execute("PRAGMA cache_size = -2000")
        schema.migrate(db)
    except sqlite3.Error as e:
        db.close()
        raise problem(path, e) from None
    return db


def open_to_read(place: HistoryPlace) -> sqlite3.Connection:
    """The history file for short reads, whether it has a writer or not.

    Raises: HistoryError, NotPermitted, UnknownTarget if there is none.
    """
    path = place.file
    try:
        _check_header(path)
        # Without a writer there is no -wal file. Creating one would need write permission, and leave it behind.
        way = "mode=ro" if os.path.lexists(f"{path}-wal") else "mode=ro&immutable=1"
        uri = f"file:{quote(os.path.abspath(path))}?{way}"
        db = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
    except FileNotFoundError:
        raise UnknownTarget(
            f"there is no history at {path}", hint="halfopen watch --history DIR keeps one; --file names another"
        ) from None
    except (OSError, ValueError, sqlite3.Error) as e:
        raise problem(path, e) from None
    if version < schema.VERSION:
        db.close()
        what = f"of the earlier version {version}" if version else "empty"
        raise HistoryError(f"{path} is {what}", hint="halfopen watch --history brings it up to date")
    return db


def _check_header(path: str) -> None:
    """Check by its header that a file is ours and of a known version. Raises: OSError, HalfopenError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise HistoryError(f"{path} is not a regular file", hint="name another")
        head = os.read(fd, _HEADER_BYTES)
    finally:
        os.close(fd)
    if not head:
        return
    if len(head) < _HEADER_BYTES or not head.startswith(_HEADER):
        raise _not_ours(path, "not an SQLite file")
    # https://sqlite.org/fileformat.html: the user version, and the application id.
    version, ours = int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big")
    if ours != schema.APPLICATION_ID and (ours or version):
        raise _not_ours(path, "a file of another program")
    if version > schema.VERSION:
        raise HistoryError(
            f"{path} is of version {version}; this halfopen knows version {schema.VERSION}",
            hint="use the halfopen that wrote it, or name another file",
        )


def _not_ours(path: str, what: str) -> HalfopenError:
    return HistoryError(f"{path} is {what}; it was left as it is", hint="name another file, or move it away")


def problem(path: str, e: Exception) -> HalfopenError:
    """What is wrong with the history file, in one line."""
    if isinstance(e, sqlite3.Error):
        return _of_sqlite(path, e)
    if isinstance(e, files.Unsafe) or (isinstance(e, OSError) and e.errno is not None):
        what, remedy = files.what_and_remedy(e, path)
        if isinstance(e, OSError) and e.errno in (errno.EACCES, errno.EPERM) and os.geteuid():
            return NotPermitted(
                f"the history {path}: {what}", hint="run as root, or as a member of its group (halfopen)"
            )
        passing = isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        return HistoryError(f"the history {path} cannot be used: {what}", hint=remedy, passing=passing)
    return HistoryError(f"the history {path} cannot be used: {e}")


def _of_sqlite(path: str, e: sqlite3.Error) -> HalfopenError:
    code = getattr(e, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        hint = f"move it aside (halfopen watch --history-anew does), or repair it: sqlite3 {path} .recover"
        return HistoryError(f"the history {path} is damaged: {e}", hint=hint)
    if code == sqlite3.SQLITE_FULL:
        return HistoryError(f"the history {path} cannot grow: {e}", hint="make room", passing=True)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HistoryError(f"the history {path} is held by another program", hint="end that, or name another file")
    # SQLite reports an I/O error if the disk is too full for the shared-memory file.
    passing = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM)
    return HistoryError(f"the history {path} cannot be used: {e}", passing=passing)


def move_aside(place: HistoryPlace, stamp: str) -> str:
    """Rename a file that cannot be used, with its companions. stamp: for the new name. Returns the new name.

    Raises: HistoryError, NotPermitted.
    """
    aside = f"{place.file}.{stamp}"
    try:
        for suffix in ("-wal", "-shm", ""):
            if os.path.lexists(place.file + suffix):
                os.rename(place.file + suffix, aside + suffix)
    except OSError as e:
        raise problem(place.file, e) from None
    return aside
