"""What the options of connections were before they were changed, kept in a file for the undo.

The file is not pushed to the disk: where the kernel stops, so do the connections.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.change.journal_file import default_directory
from halfopen.core.errors import JournalError, UnknownTarget
from halfopen.core.where import Namespace
from halfopen.linux import files, small_files
from halfopen.wire.bpf_records import ACTED

_ID: Final = re.compile(r"[0-9a-f]{8}")
_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_HEAD: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class OptionsRecord:
    """Of K connections of a namespace, identified by their cookies, the options as they were: (K,) ACTED."""

    where: Namespace
    rows: NDArray[Any]


def _path(id: str) -> str:
    return os.path.join(default_directory(), f"connections-{id}")


def begin(id: str, where: Namespace) -> None:
    """Make an empty record, 0600 in a directory 0700, before anything is changed. Those of earlier boots, whose
    connections are gone, are removed. Raises: JournalError.
    """
    _tidy(where.boot_id)
    head = {"boot": where.boot_id, "inode": where.inode, "cookie": where.cookie}
    _append(id, json.dumps(head).encode() + b"\n")


def add(id: str, rows: NDArray[Any] | memoryview) -> None:
    """Add what was changed, (K,) ACTED or the bytes of these. Raises: JournalError."""
    _append(id, rows if isinstance(rows, memoryview) else np.ascontiguousarray(rows).view(np.uint8).data)


def _append(id: str, data: bytes | memoryview) -> None:
    try:
        files.make_directory(default_directory())
        fd = files.open_to_append(_path(id))
        try:
            files.append(fd, data, durable=False)
        finally:
            os.close(fd)
    except (OSError, files.Unsafe) as e:
        what, remedy = files.what_and_remedy(e, _path(id))
        raise JournalError(f"the record of the old options cannot be written: {what}", hint=remedy) from None


def load(id: str) -> OptionsRecord:
    """A record by its id. Raises: UnknownTarget, JournalError when it is damaged."""
    found = small_files.read(_path(id), _MOST_BYTES) if _ID.fullmatch(id) else None
    if found is None:
        raise UnknownTarget(f"there is no record {id!r} of changed connections", hint="closing keepalive prints its id")
    head, _, rest = found.partition(b"\n")
    try:
        told = json.loads(head)
        where = Namespace(str(told["boot"]), int(told["inode"]), told["cookie"])
        return OptionsRecord(where, np.frombuffer(rest, dtype=ACTED))
    except (ValueError, KeyError, TypeError):
        raise JournalError(f"the record {id} of changed connections is damaged") from None


def _tidy(boot: str) -> None:
    try:
        names = os.listdir(default_directory())
    except OSError:
        return  # it is made when the first record is
    for name in names:
        id = name.removeprefix("connections-")
        if id == name or not _ID.fullmatch(id):
            continue
        try:
            with open(_path(id), "rb") as file:
                told = json.loads(file.readline(_MOST_HEAD))
            if told["boot"] != boot:
                drop(id)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # damaged: `load` says so to who asks for it


def drop(id: str) -> None:
    """Remove a record that is done with."""
    try:
        os.unlink(_path(id))
    except OSError:
        pass
