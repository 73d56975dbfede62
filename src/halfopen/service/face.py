"""The face: the process of the service that talks to the outside, without any capability and never as root.

`python -m halfopen.service.face FD PARENT [UID GID]`: FD is its end of the socket to the eyes. It gives up its
privileges before it reads the first byte, takes parcels, and ends with the eyes. It imports no numpy, and only the
modules of the parts that are configured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from halfopen.core.errors import HalfopenError, words
from halfopen.linux import privileges, small_files
from halfopen.service.messages import SETTINGS, FaceReport, Frames, Parcel, encode
from halfopen.service.parts import PARTS, FacePart

_PIECE: Final = 256 * 1024
_PARCEL_TROUBLES: Final = 16


class Face:
    """The parts of the face, and their troubles."""

    def __init__(self) -> None:
        self._parts: dict[str, FacePart] = {}
        # By kind of parcel. A part may take more kinds than the one of its name (`takes`).
        self._takes: dict[str, Callable[[bytes], None]] = {}
        self._taken = 0
        self._troubles: list[str] = []

    def take(self, parcel: Parcel) -> None:
        """Pass a parcel to its part. Raises nothing: an error of a part is reported, and the part stays."""
        try:
            if parcel.kind == SETTINGS:
                self._begin(json.loads(parcel.body))
            elif (take := self._takes.get(parcel.kind)) is not None:
                take(parcel.body)
        except Exception as e:  # an error in one part's library must not end the others
            if len(self._troubles) < _PARCEL_TROUBLES:
                self._troubles.append(f"{parcel.kind}: {words(e)}")
        self._taken = max(self._taken, parcel.number)

    def _begin(self, settings: dict[str, Any]) -> None:
        for kind, of_part in settings.items():
            try:
                part = self._parts[kind] = PARTS[kind](of_part)
                self._takes |= {kind: part.take, **getattr(part, "takes", {})}
            except (HalfopenError, OSError, KeyError, ValueError) as e:
                self._troubles.append(f"{kind}: {words(e)}")

    def report(self) -> FaceReport:
        """The state of the face; each trouble is reported once."""
        troubles, self._troubles = self._troubles, []
        troubles += [line for part in self._parts.values() for line in part.told()]
        dropped = sum(getattr(part, "dropped", 0) for part in self._parts.values())
        receivers = tuple(one for part in self._parts.values() for one in part.receivers())
        watched = tuple(one for part in self._parts.values() for one in getattr(part, "watched", ()))
        return FaceReport(self._taken, _resident(), time.process_time(), dropped, tuple(troubles), receivers, watched)

    def close(self) -> None:
        """End every part."""
        for part in self._parts.values():
            part.close()


def _resident() -> int:
    statm = (small_files.read("/proc/self/statm") or b"").split()
    return int(statm[1]) * os.sysconf("SC_PAGE_SIZE") if len(statm) > 1 else 0


def run(link: socket.socket) -> None:
    """Process parcels until the eyes close their end. Raises: OSError, WireError."""
    face, frames = Face(), Frames(Parcel)
    try:
        _report(link, face)
        while data := link.recv(_PIECE):
            parcels = 0
            for parcel in frames.take(data):
                face.take(parcel)
                parcels += 1
            if parcels:
                _report(link, face)
    finally:
        face.close()


def _report(link: socket.socket, face: Face) -> None:
    try:
        link.sendall(encode(face.report()))
    except OSError:
        # The eyes have ended and read no reports any more, but parcels that they sent before must still be processed.
        pass


def main(arguments: list[str]) -> NoReturn:
    """Give up every privilege, then be the face."""
    # Ctrl-C in a terminal and systemd's SIGTERM reach both processes: ignore them, as the eyes say when to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    fd, parent, *user = map(int, arguments)
    privileges.give_up_all((user[0], user[1]) if user else None)
    privileges.end_with(parent)
    try:
        run(socket.socket(fileno=fd))
    except OSError:  # the eyes are gone
        pass
    # Exit without joining threads of parts, which may be waiting for a receiver.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
