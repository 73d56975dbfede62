"""The options of connections before a change, kept in a file for the undo.

The file is not synced to the disk: if the kernel crashes, the connections are gone as well.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.errors import DAMAGED, JournalError, UnknownTarget
from halfopen.core.where import Namespace
from halfopen.linux import files, small_files, state
from halfopen.linux.closable import Closable
from halfopen.wire.bpf_records import ACTED

_ID: Final = re.compile(r"[0-9a-f]{8}")
_PREFIX: Final = "connections-"
# The suffix of a record whose change is not finished. If no process holds its lock, halfopen was killed during the
# change.
_OPEN: Final = ".open"
_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_HEAD: Final = 4096


class OptionsRecord(Struct, frozen=True, eq=False):
    """The old options of K connections of a namespace, identified by their cookies: (K,) ACTED."""

    where: Namespace
    rows: NDArray[Any]


class OpenRecord(Closable):
    """A record during the change. Call `begin`, then `keep` it for an undo, or `drop` it if there is nothing to undo. A
    record that was begun and then only closed, or whose process was killed, is listed by `left_open`.
    """

    def __init__(self, where: Namespace) -> None:
        """Create an empty record, 0600 in a directory 0700, before anything is changed. Removes records of earlier
        boots, whose connections are gone. Raises: JournalError.
        """
        self.id = uuid.uuid4().hex[:8]
        self._fd, self._begun = -1, False
        _tidy(where.boot_id)
        head = {"boot": where.boot_id, "inode": where.inode, "cookie": where.cookie}
        try:
            files.make_directory(state.state_directory())
            self._fd = files.open_to_append(_path(self.id) + _OPEN)
            files.lock(self._fd, 0)
        except (OSError, files.Unsafe) as e:
            raise _problem(e, self.id) from None
        try:
            self._append(json.dumps(head).encode() + b"\n")
        except JournalError:
            self.close()
            raise

    def begin(self, rows: NDArray[Any] | None = None) -> None:
        """Mark the beginning of the change. rows: the connections to be changed, (K,) ACTED, if they are known. Raises:
        JournalError; the change must then not begin.
        """
        if rows is not None:
            self._append(np.ascontiguousarray(rows).view(np.uint8).data)
        self._begun = True

    def add(self, rows: memoryview) -> None:
        """Add changed connections, the bytes of (K,) ACTED. Raises: JournalError."""
        self._append(rows)

    def _append(self, data: bytes | memoryview) -> None:
        try:
            files.append(self._fd, data, durable=False)
        except OSError as e:
            raise _problem(e, self.id) from None

    def keep(self) -> None:
        """Mark the change as finished: from now on an undo may use the record. Raises: JournalError."""
        try:
            os.rename(_path(self.id) + _OPEN, _path(self.id))
        except OSError as e:
            raise _problem(e, self.id) from None

    def drop(self) -> None:
        """Remove the record: there is nothing to undo."""
        drop(self.id)

    def close(self) -> None:
        """Close the file, and remove it if the change did not begin."""
        if self._fd >= 0:
            if not self._begun:
                self.drop()
            os.close(self._fd)
            self._fd = -1


def _path(id: str) -> str:
    return os.path.join(state.state_directory(), f"{_PREFIX}{id}")


def _problem(e: OSError | files.Unsafe, id: str) -> JournalError:
    what, remedy = files.what_and_remedy(e, _path(id))
    return JournalError(f"the record of the old options cannot be written: {what}", hint=remedy)


def load(id: str) -> OptionsRecord:
    """A record by its id. Raises: UnknownTarget, JournalError if it is damaged or its change is not finished."""
    found = None
    for path in (_path(id), _path(id) + _OPEN) if _ID.fullmatch(id) else ():
        if found is None:
            found = small_files.read(path, _MOST_BYTES)
    if found is None:
        raise UnknownTarget(f"there is no record {id!r} of changed connections", hint="closing keepalive prints its id")
    if _in_use(_path(id) + _OPEN):
        raise JournalError(f"the change of the record {id} is still being made", hint="try again when it has ended")
    head, _, rest = found.partition(b"\n")
    try:
        # If halfopen was killed while writing, the incomplete end is about connections that were not changed yet.
        whole = rest[: len(rest) // ACTED.itemsize * ACTED.itemsize]
        return OptionsRecord(_where(head), np.frombuffer(whole, dtype=ACTED))
    except DAMAGED:
        raise JournalError(f"the record {id} of changed connections is damaged") from None


def laid_over(id: str, record: OptionsRecord) -> list[tuple[str, int]]:
    """Later records of the same namespace that contain connections of this one, the latest first, with their number.
    Undo those first: their old options are the ones that this change set. Damaged records are skipped.
    """
    mine = _made_at(id)
    found = []
    for other, _ in _records():
        made = _made_at(other)
        if other == id or made <= mine:
            continue
        try:
            rows = load(other)
        except (UnknownTarget, JournalError):
            continue
        same = int(np.count_nonzero(np.isin(rows.rows["cookie"], record.rows["cookie"])))
        if same and rows.where == record.where:
            found.append((made, other, same))
    return [(other, same) for _, other, same in sorted(found, reverse=True)]


def _made_at(id: str) -> int:
    """The time of the last write to a record, which is right before its change, ns; 0 if it is gone."""
    for path in (_path(id), _path(id) + _OPEN):
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            continue
    return 0


def left_open(where: Namespace) -> list[str]:
    """The ids of records of a namespace whose change was interrupted."""
    found = []
    for id, is_open in _records():
        if is_open and not _in_use(_path(id) + _OPEN) and _head_of(_path(id) + _OPEN) == (where.boot_id, where.inode):
            found.append(id)
    return sorted(found)


def _where(head: bytes) -> Namespace:
    """Raises: DAMAGED."""
    told = json.loads(head)
    return Namespace(str(told["boot"]), int(told["inode"]), told["cookie"])


def _head_of(path: str) -> tuple[str, int] | None:
    """The boot and the namespace of a record; None if it is damaged."""
    try:
        found = _where((small_files.read(path, _MOST_HEAD) or b"").partition(b"\n")[0])
    except DAMAGED:
        return None
    return found.boot_id, found.inode


def _in_use(path: str) -> bool:
    """Whether a running halfopen process writes to the record."""
    try:
        fd = files.open_to_read(path)
    except (OSError, files.Unsafe):
        return False
    try:
        return not files.lock(fd, 0)
    finally:
        os.close(fd)


def _records() -> list[tuple[str, bool]]:
    """The id of each record, and whether its change is unfinished: still being made, or interrupted."""
    try:
        names = os.listdir(state.state_directory())
    except OSError:
        return []  # the directory is created with the first record
    found = []
    for name in names:
        id = name.removeprefix(_PREFIX).removesuffix(_OPEN)
        if name.startswith(_PREFIX) and _ID.fullmatch(id):
            found.append((id, name.endswith(_OPEN)))
    return found


def _tidy(boot: str) -> None:
    for id, is_open in _records():
        head = _head_of(_path(id) + (_OPEN if is_open else ""))
        if head is not None and head[0] != boot:  # a damaged record is kept: `load` reports it
            drop(id)


def drop(id: str) -> None:
    """Remove a record after its undo."""
    for path in (_path(id), _path(id) + _OPEN):
        try:
            os.unlink(path)
        except OSError:
            pass
