"""The journal of changed settings on the disk: locked during a command, and written before the kernel's
settings are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from halfopen.core.errors import JournalError, NotPermitted
from halfopen.core.tune.ledger import Ledger, replay
from halfopen.core.tune.records import MAX_BYTES, Record, encode, whole_lines
from halfopen.linux import files, state

_NAME: Final = "tune.jsonl"
_WAIT_S: Final = 20.0
# If the file is larger than this and no change is in force, a new file is begun; the last one is kept.
_ROTATE_BYTES: Final = 1024 * 1024


def hidden_from_us() -> str:
    """The path of root's journal if it exists and this user may not read it; empty otherwise.

    Only root may look into its directory, so the existence of the directory is all that can be tested.
    """
    there = os.path.isdir(state.STATE_OF_ROOT) and not os.access(state.STATE_OF_ROOT, os.R_OK | os.X_OK)
    return os.path.join(state.STATE_OF_ROOT, _NAME) if there and not files.is_root() else ""


class Journal:
    """One file, 0600 in a directory 0700; records are appended and pushed to the disk before `append` returns."""

    def __init__(self, directory: str | None = None) -> None:
        self.directory = state.state_directory() if directory is None else directory
        self.path = os.path.join(self.directory, _NAME)
        # The file before this one. A crash may leave both names on one file.
        self._before = f"{self.path}.1"
        self._fd = -1
        self.ledger = Ledger()

    def look(self) -> Ledger:
        """The content of the journal, read without a lock and without changing anything; empty when there is none.

        Raises: JournalError, NotPermitted.
        """
        try:
            files.check_directory(self.directory, private=True)
            fd = files.open_to_read(self.path, twin=self._before)
        except FileNotFoundError:
            return Ledger()
        except (OSError, files.Unsafe) as e:
            raise self._problem(e) from None
        try:
            return self._replay(self._read(fd))
        except OSError as e:
            raise self._problem(e) from None
        finally:
            os.close(fd)

    @contextmanager
    def locked(self) -> Iterator[Ledger]:
        """Lock the journal and yield its content; an incomplete last line is removed.

        Raises: JournalError if it cannot be opened, read or locked in time, NotPermitted.
        """
        try:
            self._open()
        except (OSError, files.Unsafe) as e:
            raise self._problem(e) from None
        try:
            try:
                data = self._read(self._fd)
                whole = whole_lines(data)
                if whole != len(data):
                    # Nothing was changed because of that line: a change begins only after its record was synced.
                    os.ftruncate(self._fd, whole)
                    os.fsync(self._fd)
                self.ledger = self._replay(data)
                if whole > _ROTATE_BYTES and not self.ledger.live() and not self.ledger.instead:
                    self._rotate(data[:whole])
            except OSError as e:
                raise self._problem(e) from None
            yield self.ledger
        finally:
            os.close(self._fd)
            self._fd = -1

    def append(self, records: Sequence[Record]) -> None:
        """Append records under the lock: all of them on the disk, or none.

        Raises: JournalError; the caller must then leave the system as it was.
        """
        if not records:
            return
        data = b"".join(encode(record) for record in records)
        # First into a copy of the ledger: a record that does not fit the earlier ones must never reach the disk.
        after = self.ledger.copy()
        for record in records:
            after.add(record)
        try:
            _write(self._fd, data)
        except OSError as e:
            raise self._problem(e) from None
        self.ledger = after

    def check(self) -> None:
        """Check whether it can be written, without creating or changing anything. Raises: NotPermitted,
        JournalError.
        """
        try:
            files.check_append(self.path, twin=self._before)
        except (OSError, files.Unsafe) as e:
            raise self._problem(e) from None

    def _open(self) -> None:
        files.make_directory(self.directory)
        files.check_directory(self.directory, private=True)
        deadline = time.monotonic() + _WAIT_S
        while True:
            fd = files.open_to_append(self.path, twin=self._before)
            try:
                if not files.lock(fd, max(0.0, deadline - time.monotonic())):
                    raise JournalError(
                        "another halfopen tune command holds the journal",
                        hint=f"wait for it, or end it (fuser {self.path} shows it)",
                    )
                # The process that held the lock may have begun a new file.
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                    break
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        self._fd = fd
        if not os.fstat(fd).st_size:
            _sync_directory(self.directory)

    def _read(self, fd: int) -> bytes:
        size = os.fstat(fd).st_size
        if size > MAX_BYTES:
            raise JournalError(f"the journal {self.path!r} is too large", hint="move it away")
        pieces = []
        at = 0
        while piece := os.pread(fd, size + 1 - at, at):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def _replay(self, data: bytes) -> Ledger:
        try:
            return replay(data)
        except JournalError as e:
            raise JournalError(f"the journal {self.path!r}, {e}", hint="repair it or move it away") from None

    def _rotate(self, data: bytes) -> None:
        """Begin a new file with only the last change, so that ids continue."""
        last = self.ledger.next_id - 1
        kept = [line for line in data.splitlines(keepends=True) if b'"id":%d,' % last in line]
        made = f"{self.path}.new"
        fd = files.open_anew(made)
        try:
            _write(fd, b"".join(kept))
            files.lock(fd, 0.0)
            if os.path.lexists(self._before):
                os.unlink(self._before)
            os.link(self.path, self._before)
            os.rename(made, self.path)
        except BaseException:
            os.close(fd)
            raise
        _sync_directory(self.directory)
        os.close(self._fd)
        self._fd = fd
        self.ledger = self._replay(b"".join(kept))

    def _problem(self, e: OSError | files.Unsafe) -> JournalError | NotPermitted:
        # Not if this journal exists: its changes could not be undone from another directory.
        elsewhere = "" if os.path.lexists(self.path) else f"choose another directory with {state.ENVIRONMENT}"
        what, remedy = files.what_and_remedy(e, self.path, elsewhere)
        message = f"the journal {self.path!r} cannot be used: {what}"
        return (NotPermitted if isinstance(e, PermissionError) else JournalError)(message, hint=remedy)


def _write(fd: int, data: bytes) -> None:
    # Appended under the lock, all or nothing: a crash leaves at most one incomplete line, at the end.
    files.append(fd, data)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
