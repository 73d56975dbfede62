"""Asks the running service. Imports nothing heavy, as a command that the service answers needs nothing else."""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Final

from halfopen.core.errors import DAMAGED, HalfopenError
from halfopen.linux.well_known import OWN_NETNS

CONNECT_S: Final = 2.0
# Commands wait for one another, and each may take 30 s.
_PATIENCE_S: Final = 75.0
# Whether anybody is there shows sooner: a service that is stopped or frozen has its socket, and takes connections.
_SIGN_OF_LIFE_S: Final = 10.0
_ASK_HEALTH: Final = {"command": "health"}
_PIECE: Final = 256 * 1024
# The output of a command is at most half of this, before it is quoted.
_ANSWER_MOST: Final = 32 * 1024 * 1024
# Where systemd looks for units of the system (systemd.unit(5)).
_UNITS: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)


def ask(path: str, request: dict[str, Any], patience_s: float = _PATIENCE_S) -> dict[str, Any] | None:
    """The answer of the service to a request; None if no service listens at `path`, or this user may not connect.

    Raises: HalfopenError if the service does not answer, within seconds where it does nothing at all, or the answer is
    not JSON.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(CONNECT_S)
        try:
            one.connect(path)
        except OSError:
            return None
        try:
            one.settimeout(min(_SIGN_OF_LIFE_S, patience_s))
            line = _answer(one, _ASK_HEALTH)
            if request != _ASK_HEALTH:
                one.settimeout(patience_s)
                line = _answer(one, request)
        except OSError as e:
            raise _silent(e.strerror or "no answer in time") from None
    try:
        answer = json.loads(line)
    except DAMAGED:
        raise _silent("an answer that is not JSON") from None
    if not isinstance(answer, dict):
        raise _silent("an answer that is not an object")
    return answer


def why_not(path: str) -> str:
    """Why nothing answers at `path`, and what to do."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(CONNECT_S)
            one.connect(path)
    except PermissionError:
        return f"{path}: only root and members of the group halfopen may ask the service; run as root (sudo)"
    except OSError:
        if any(os.path.exists(f"{place}/halfopen.service") for place in _UNITS):
            return f"the halfopen service does not run (nobody listens at {path}); systemctl start halfopen starts it"
        return (
            f"the halfopen service does not run (nobody listens at {path}); sudo halfopen service install installs it"
        )
    return f"{path}: the service closed the connection"


def here() -> int:
    """The inode of this process's network namespace; 0 if /proc does not show it."""
    try:
        return os.stat(OWN_NETNS).st_ino
    except OSError:
        return 0


def _answer(one: socket.socket, request: dict[str, Any]) -> bytes:
    """Raises: OSError, HalfopenError."""
    one.sendall(json.dumps(request).encode() + b"\n")
    return _line(one)


def _line(one: socket.socket) -> bytes:
    taken = bytearray()
    while not taken.endswith(b"\n"):
        piece = one.recv(_PIECE)
        if not piece:
            raise _silent("it closed the connection")
        taken += piece
        if len(taken) > _ANSWER_MOST:
            raise _silent("an endless answer")
    return bytes(taken)


def _silent(why: str) -> HalfopenError:
    return HalfopenError("service", f"the halfopen service did not answer: {why}", hint="--direct reads the kernel")
