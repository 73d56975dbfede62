"""The files of flight records: one for each incident, only appended to, and deleted when old."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from halfopen.core.errors import HistoryError, UnknownTarget, WireError
from halfopen.core.flight import FlightEntry
from halfopen.store.database import problem
from halfopen.wire import flight

_SUFFIX: Final = ".flight"
_MODE: Final = 0o640
RECORD_MOST: Final = 64 * 1024 * 1024
"""The longest record, bytes. That of an incident of days ends early, and says so."""
ALL_MOST: Final = 1024 * 1024 * 1024
"""The limit for all records together, bytes; the oldest are deleted first."""
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def path_of(directory: str, incident: str) -> str:
    """The file of the record of an incident. Raises: UnknownTarget if it is not an id."""
    if not incident.replace("-", "").isalnum():
        raise UnknownTarget(f"{incident!r} is not the id of an incident")
    return os.path.join(directory, incident + _SUFFIX)


def append(paths: Sequence[str], entries: Sequence[FlightEntry], group: int | None = None) -> None:
    """Append entries to records, which are created if missing. Each entry is encoded once.

    Raises: OSError; the records then still end with a complete entry.
    """
    data = b"".join(map(flight.encode, entries))
    for path in paths:
        _append(path, data, group)


def _append(path: str, data: bytes, group: int | None) -> None:
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        os.fchmod(fd, _MODE)
        if group is not None:
            os.fchown(fd, -1, group)
        data = flight.MAGIC + data
    try:
        end = os.fstat(fd).st_size
        if end + len(data) > RECORD_MOST:
            return
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, end)
                if not end:
                    os.unlink(path)
            raise
    finally:
        os.close(fd)


def read(directory: str, incident: str) -> tuple[list[FlightEntry], str]:
    """The entries of a record, and what is wrong with its end ("": nothing).

    Raises: UnknownTarget if there is no such record, HistoryError if the file is not a record, NotPermitted.
    """
    path = path_of(directory, incident)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            data = file.read(RECORD_MOST + 1)
    except FileNotFoundError:
        raise UnknownTarget(
            f"there is no record of the incident {incident}",
            hint="it may be too old, a rise without an alarm, or about open and closing connections",
        ) from None
    except OSError as e:
        raise problem(path, e) from None
    found: list[FlightEntry] = []
    try:
        for entry in flight.decode(data):
            found.append(entry)
    except WireError as e:
        if not found:
            raise HistoryError(f"{path}: {e.message}", hint="it was left as it is") from None
        return found, e.message
    return found, ""


def has(directory: str, incident: str) -> bool:
    """Whether there is a record that can be read."""
    return os.access(path_of(directory, incident), os.R_OK)


def sweep(directory: str, before_s: float, most: int = ALL_MOST) -> None:
    """Remove records last written before `before_s` (since 1970), and the oldest ones while all exceed `most` bytes.

    Raises: OSError.
    """
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                facts = entry.stat(follow_symlinks=False)
                found.append((facts.st_mtime, facts.st_size, entry.path))
    found.sort()
    total = sum(size for _, size, _ in found)
    for at_s, size, path in found:
        if at_s >= before_s and total <= most:
            break
        os.unlink(path)
        total -= size
