"""The journal of changed settings on the disk: locked for the whole of a command, written before the kernel is."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from halfopen.core import journal
from halfopen.core.errors import NotPermitted
from halfopen.core.journal import JournalError, Ledger, Record

ENVIRONMENT: Final = "HALFOPEN_STATE_DIR"
CRASH: Final = "HALFOPEN_TUNE_CRASH"
_ROOT_DIRECTORY: Final = "/var/lib/halfopen"
_NAME: Final = "tune.jsonl"
_WAIT_S: Final = 20.0
_POLL_S: Final = 0.02
# Past this, and with nothing in force, the file starts anew; the one before is kept.
_ROTATE_BYTES: Final = 1024 * 1024
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_passed: dict[str, int] = {}


def step(name: str) -> None:
    """A place where tests have the process killed: HALFOPEN_TUNE_CRASH=NAME, or NAME:N for the N-th time."""
    wanted = os.environ.get(CRASH)
    if not wanted:
        return
    _passed[name] = _passed.get(name, 0) + 1
    which, _, count = wanted.partition(":")
    if which == name and _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def default_directory() -> str:
    """$HALFOPEN_STATE_DIR, else /var/lib/halfopen for root and ~/.local/state/halfopen for others."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return chosen
    if os.geteuid() == 0:
        return _ROOT_DIRECTORY
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "halfopen")


class Journal:
    """One file, 0600 in a directory 0700; records are appended and pushed to the disk before `append` returns."""

    def __init__(self, directory: str | None = None) -> None:
        self.directory = default_directory() if directory is None else directory
        self.path = os.path.join(self.directory, _NAME)
        self._fd = -1
        self.ledger = Ledger()

    def look(self) -> Ledger:
        """What the journal says, without a lock and without changing anything; empty when there is none.

        Raises: JournalError, NotPermitted.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return Ledger()
        except OSError as e:
            raise self._problem(e) from None
        try:
            return self._replay(self._read(fd))
        finally:
            os.close(fd)

    @contextmanager
    def locked(self) -> Iterator[Ledger]:
        """The journal for this process alone, a torn last line cut off.

        Raises: JournalError when it cannot be opened, read or locked in time, NotPermitted.
        """
        try:
            self._open()
        except OSError as e:
            raise self._problem(e) from None
        try:
            try:
                data = self._read(self._fd)
                whole = journal.whole_lines(data)
                if whole != len(data):
                    # It was never pushed to the disk whole, so nothing was done on its strength.
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
        data = b"".join(journal.encode(record) for record in records)
        # First on paper: a record that cannot follow must not reach the file.
        after = self.ledger.copy()
        for record in records:
            after.add(record)
        end = os.fstat(self._fd).st_size
        try:
            try:
                _write(self._fd, data)
                os.fsync(self._fd)
            except OSError:
                os.ftruncate(self._fd, end)
                raise
        except OSError as e:
            raise self._problem(e) from None
        self.ledger = after

    def _open(self) -> None:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        deadline = time.monotonic() + _WAIT_S
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
            try:
                self._check(fd)
                _lock(fd, deadline)
                # Whoever held it may have begun a new file meanwhile.
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

    def _check(self, fd: int) -> None:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise JournalError(f"the journal {self.path!r} is not a regular file")
        # What it says is written to the kernel.
        if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
            raise JournalError(
                f"the journal {self.path!r} could be written by others", hint=f"look at it, then: chmod 600 {self.path}"
            )

    def _read(self, fd: int) -> bytes:
        self._check(fd)
        size = os.fstat(fd).st_size
        if size > journal.MAX_BYTES:
            raise JournalError(f"the journal {self.path!r} is too large", hint="move it away")
        pieces = []
        at = 0
        while piece := os.pread(fd, size + 1 - at, at):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def _replay(self, data: bytes) -> Ledger:
        try:
            return journal.replay(data)
        except JournalError as e:
            raise JournalError(f"the journal {self.path!r}, {e}", hint="repair it or move it away") from None

    def _rotate(self, data: bytes) -> None:
        """Begin a new file with the last change alone, so that ids go on."""
        last = self.ledger.next_id - 1
        kept = [line for line in data.splitlines(keepends=True) if b'"id":%d,' % last in line]
        made = f"{self.path}.new"
        fd = os.open(made, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600)
        try:
            _write(fd, b"".join(kept))
            os.fsync(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.lexists(f"{self.path}.1"):
                os.unlink(f"{self.path}.1")
            os.link(self.path, f"{self.path}.1")
            os.rename(made, self.path)
        except BaseException:
            os.close(fd)
            raise
        _sync_directory(self.directory)
        os.close(self._fd)
        self._fd = fd
        self.ledger = self._replay(b"".join(kept))

    def _problem(self, e: OSError) -> JournalError | NotPermitted:
        what = f"the journal {self.path!r} cannot be used: {e.strerror or e}"
        if isinstance(e, PermissionError):
            return NotPermitted(what, hint=f"run as its owner, or choose a directory with {ENVIRONMENT}")
        return JournalError(what, hint=f"make room, or choose another directory with {ENVIRONMENT}")


def _lock(fd: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise JournalError(
                    "another halfopen tune has been at work for a while", hint="wait for it, or end it"
                ) from None
        time.sleep(_POLL_S)


def _write(fd: int, data: bytes) -> None:
    # One call: a crash leaves at most one torn line behind whole ones.
    if os.write(fd, data) != len(data):
        raise OSError(28, os.strerror(28))


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
