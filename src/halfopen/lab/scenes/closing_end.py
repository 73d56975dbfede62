"""One end of the connections in a scene of `closing`: a server or a client program, run by its path inside a lab host.

`closing_end.py WANT`: WANT is a JSON object with `role`, and what the role takes. Says "ready" once it is at work.
Standard library only.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def serve(want: dict[str, Any]) -> None:
    """Answer each request with `bytes`. then: "close" each; "keep"; "hang-up" on all at once when told on stdin.

    reads: False has it accept and never look; accepts: False does not even that; pours: send for ever, and never read.
    """
    listener = socket.create_server((want["address"], want["port"]), backlog=512)
    print("ready", flush=True)
    if not want.get("accepts", True):
        threading.Event().wait()
    held: list[socket.socket] = []
    if want.get("then") == "hang-up":
        threading.Thread(target=_hang_up, args=(held,), daemon=True).start()
    while True:
        one, _ = listener.accept()
        held.append(one)
        if want.get("pours"):
            one.setblocking(False)
            _pour(one)
        elif want.get("reads", True):
            threading.Thread(target=_answer, args=(one, want, held), daemon=True).start()


def _hang_up(held: list[socket.socket]) -> None:
    sys.stdin.readline()
    for one in list(held):
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def _pour(one: socket.socket) -> None:
    try:
        while True:
            one.send(b"x" * 65536)
    except BlockingIOError:
        return


def _answer(one: socket.socket, want: dict[str, Any], held: list[socket.socket]) -> None:
    try:
        while one.recv(4096):
            one.sendall(b"x" * want.get("bytes", 200))
            if want.get("then") == "close":
                time.sleep(want.get("after_s", 0.0))
                break
        held.remove(one)
        one.close()
    except (OSError, ValueError):
        return


def connect(want: dict[str, Any]) -> None:
    """Open `count` connections, or `rate` a second forever. then: "keep" them after a request, reading the answer
    (reads) or not; "use" them repeatedly; "hang-up" after `after_s`; keep "send"ing even if nobody reads; "close" them
    with unacknowledged data, when told on stdin.
    """
    at, held = (want["address"], want["port"]), []
    for _ in _moments(want):
        try:
            one = socket.create_connection(at, 5)
            one.sendall(_REQUEST)
        except OSError:
            continue
        if want.get("reads", True):
            one.recv(65536)
        held.append(one)
        if want["then"] == "hang-up":
            threading.Timer(want["after_s"], one.close).start()
    print("ready", flush=True)
    if want["then"] == "use":
        _use(held, want["every_s"])
    if want["then"] in ("send", "close"):
        sys.stdin.readline()
        for one in held:
            one.setblocking(False)
            one.send(b"y" * 1000)
            if want["then"] == "close":
                one.close()
    threading.Event().wait()


def _moments(want: dict[str, Any]) -> Iterator[None]:
    """Yield once for each connection to open; with a rate, until the end of the scene."""
    if "rate" not in want:
        yield from [None] * want["count"]
        return
    print("ready", flush=True)
    due = time.monotonic()
    while True:
        yield
        due += random.expovariate(want["rate"])
        time.sleep(max(0.0, due - time.monotonic()))


def _use(held: list[socket.socket], every_s: float) -> None:
    """A pool that is in use: a request on one of the connections now and then. One whose server hung up is replaced."""
    with selectors.DefaultSelector():
        while True:
            one = random.choice(held)  # noqa: S311
            try:
                one.sendall(_REQUEST)
                if not one.recv(65536):
                    raise OSError
            except OSError:
                held.remove(one)
                one.close()
                if not held:
                    return
            time.sleep(random.expovariate(len(held) / every_s))


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    {"serve": serve, "connect": connect}[asked["role"]](asked)
