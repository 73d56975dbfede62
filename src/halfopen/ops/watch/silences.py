"""The silences of a watch: changed on request, read by the loop, and kept in a file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from typing import Final

import msgspec

from halfopen.core.errors import DAMAGED, HalfopenError, UnknownTarget
from halfopen.core.policy.silence import MOST, Silence, Unsilence
from halfopen.linux import files, small_files
from halfopen.linux.replacing import replace
from halfopen.ops.executor import Executor

_FILE_MOST: Final = 1024 * 1024
_decoder: Final = msgspec.json.Decoder(tuple[Silence, ...])


class Silences:
    """The silences in force. May be used by any thread."""

    def __init__(self, executor: Executor, path: str = "") -> None:
        """executor: records each change. path: of the file; "": none. A file that is damaged or belongs to another user
        is ignored.
        """
        self._executor, self._path = executor, path
        self._lock = threading.Lock()
        self._all: tuple[Silence, ...] = ()
        if path:
            try:
                self._all = _decoder.decode(small_files.read(path, _FILE_MOST) or b"[]")[:MOST]
            except DAMAGED:
                pass

    def now(self) -> tuple[Silence, ...]:
        """The silences in force now."""
        found, now_s = self._all, time.time()
        return tuple(one for one in found if one.in_force(now_s)) if found else ()

    def begin(self, action: Silence) -> None:
        """Begin a silence, replacing one of the same name, and record it. Raises: HalfopenError."""
        with self._lock:
            others = [one for one in self.now() if one.name != action.name]
            if len(others) >= MOST:
                raise HalfopenError("silence", f"there are {MOST} silences already", hint="end one of them first")
            self._executor.note_silence(action)
            self._keep((*others, action))

    def end(self, action: Unsilence) -> Silence:
        """End the silence of this name, and record it. Raises: UnknownTarget, HalfopenError."""
        with self._lock:
            found = [one for one in self.now() if action.name in (one.name, *_ends(one, action.name))]
            if len(found) != 1:
                raise UnknownTarget(
                    f"there is no silence of {action.name}" if not found else f"{action.name} is not unique",
                    hint="halfopen service status lists them",
                )
            self._executor.note_silence(Unsilence(found[0].name, action.by))
            self._keep(tuple(one for one in self.now() if one is not found[0]))
            return found[0]

    def taken_up(self, incidents: Collection[str]) -> None:
        """End the silences of all incidents but these, which the watch takes up from an earlier one: it will see the
        end of no other.
        """
        self.over(frozenset(one.name for one in self._all if one.listener is None and one.name not in incidents))

    def over(self, incidents: frozenset[str]) -> None:
        """End the silences of incidents that are over."""
        if any(one.listener is None and one.name in incidents for one in self._all):
            with self._lock:
                rest = tuple(one for one in self.now() if one.listener is not None or one.name not in incidents)
                try:
                    self._keep(rest)
                except HalfopenError:
                    self._all = rest

    def _keep(self, found: tuple[Silence, ...]) -> None:
        if self._path:
            try:
                directory, name = os.path.split(self._path)
                files.make_directory(directory)
                at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    replace(at, name, msgspec.json.encode(found), new=f".{name}.new", mode=0o600)
                finally:
                    os.close(at)
            except (OSError, files.Unsafe) as e:
                what, remedy = files.what_and_remedy(e, self._path)
                raise HalfopenError("silence", f"{self._path}: {what}", hint=remedy) from None
        self._all = found


def _ends(one: Silence, name: str) -> tuple[str, ...]:
    """The name, if it is the end of an incident's id, as people write it."""
    return (name,) if one.listener is None and len(name) >= 4 and one.name.endswith(name) else ()
