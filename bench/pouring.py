"""More SYNs a second than a process can send: frames that the kernel itself makes and puts into the ring of the
server's device, paced by an eBPF program (pour.bpf.c; BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18).

The server takes them in as from a card: no socket buffer was allocated for them yet.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import napi
import numpy as np
from inside import BenchError
from numpy.typing import NDArray

from halfopen.lab import Lab
from halfopen.linux.bpf import libbpf, maps, xdp
from halfopen.linux.bpf.loader import _RunOptions as RunOptions

_HERE: Final = Path(__file__).resolve().parent
_LIVE_FRAMES: Final = 1 << 1
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_PAIR: Final = "bench-aside", "bench-queued"
_FRAMES, _ROOM, _BURST = 65_536, 80, 32
_PACE: Final = np.dtype([(name, "<u8") for name in ("ifindex", "every_ns", "due", "last", "pair", "over", "sent")])
# Frames in a row: more than are asked for, as the kernel waits for 20 ms between two rows (bpf_prog_change_xdp()).
# What is left of them at the end is dropped in less than a second.
_REPEAT: Final = 1 << 24
_WHAT: Final = "the bench's sender"
_KEY: Final = bytes(4)


class Pouring:
    """The loaded sender, through which the client's own packets go as well while it pours, and what drops the SYN-ACKs
    to the addresses it forges: where they leave the server, and where they arrive, which a front in the driver needs to
    send at all. Close it."""

    def __init__(self, lab: Lab, frames: NDArray[np.uint8]) -> None:
        """frames: (65536, 74), which go round and round. Raises: BenchError, HalfopenError."""
        self._lab, self._lib, self._stopped = lab, libbpf.library(), threading.Event()
        self._pace = np.zeros(1, dtype=_PACE)
        image = _compiled()
        self._object = self._lib.bpf_object__open_mem(image, len(image), None)
        if not self._object or self._lib.bpf_object__load(self._object):
            raise BenchError("the program that sends SYNs is refused (it needs Linux 5.18)")
        values = np.zeros((_FRAMES, _ROOM), dtype=np.uint8)
        values[:, : frames.shape[1]] = frames
        maps.fill_hash(self._map(b"frames"), np.arange(_FRAMES, dtype="<u4"), values, what=_WHAT)
        self._frame = ctypes.create_string_buffer(frames[0].tobytes(), frames.shape[1])
        first, second = _PAIR
        batch = f"link add {first} type veth peer name {second}\nlink set {first} up\nlink set {second} up\n"
        lab.client.exec(["ip", "-batch", "-"], input=batch, check=True)
        napi.offload(lab.server, lab.server.device, napi.GRO, 1)  # else it has no ring
        napi.offload(lab.client, first, napi.TX_CHECKSUMS, 0)
        self._links = [
            lab.server.run(lambda: self._attach(b"leaving", lab.server.device, _TCX_EGRESS)),
            lab.client.run(lambda: self._attach(b"aside", lab.client.device, _TCX_EGRESS)),
            lab.client.run(lambda: self._attach(b"queued", second, _TCX_INGRESS)),
            lab.client.run(lambda: xdp.attach(self._program(b"arriving"), _index(lab.client.device), in_driver=True)),
        ]

    def _attach(self, program: bytes, device: str, where: int) -> int:
        fd: int = self._lib.bpf_link_create(self._program(program), _index(device), where, None)
        if fd < 0:
            raise BenchError(f"no program at tc: {os.strerror(-fd)}")
        return fd

    def _program(self, name: bytes) -> int:
        found: int = self._lib.bpf_program__fd(self._lib.bpf_object__find_program_by_name(self._object, name))
        return found

    def _map(self, name: bytes) -> int:
        found: int = self._lib.bpf_map__fd(self._lib.bpf_object__find_map_by_name(self._object, name))
        return found

    @contextmanager
    def poured(self, rate: float) -> Iterator[list[float]]:
        """SYNs meanwhile, so many a second; gives a list that holds how many a second were sent, at the end."""
        sent: list[int] = []
        told: list[float] = []
        pours = threading.Thread(target=lambda: sent.append(self._pour(rate)))
        begun = time.monotonic()
        pours.start()
        try:
            yield told
        finally:
            took = time.monotonic() - begun
            self._stop()
            pours.join()
            if not sent:
                raise BenchError("the sender of SYNs ended early")
            told.append(sent[0] / took)

    def _pour(self, rate: float) -> int:
        self._pace["ifindex"] = self._lab.client.run(lambda: _index(self._lab.client.device))
        self._pace["pair"] = self._lab.client.run(lambda: _index(_PAIR[0]))
        self._pace["every_ns"] = round(_BURST * 1e9 / rate)
        maps.put(self._map(b"pace"), _KEY, self._pace, what=_WHAT)
        self._lab.client.run(self._run)
        return int(self._told()["sent"][0])

    def _stop(self) -> None:
        # What the client sends goes its own way again.
        self._stopped.set()
        pace = self._told()
        pace["over"], pace["pair"] = 1, 0
        maps.put(self._map(b"pace"), _KEY, pace, what=_WHAT)

    def _told(self) -> NDArray[Any]:
        return maps.get(self._map(b"pace"), _KEY, _PACE, what=_WHAT)

    def _run(self) -> None:
        options: Any = RunOptions(size=ctypes.sizeof(RunOptions), data_size_in=len(self._frame), repeat=_REPEAT)
        options.data_in, options.flags = ctypes.addressof(self._frame), _LIVE_FRAMES
        program = self._program(b"pour")
        while not self._stopped.is_set():
            code = -self._lib.bpf_prog_test_run_opts(program, ctypes.byref(options))
            if code:
                raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Detach and unload all of it."""
        for link in self._links:
            os.close(link)
        self._lib.bpf_object__close(self._object)


def _index(device: str) -> int:
    return socket.if_nametoindex(device)


def _compiled() -> bytes:
    """The programs, compiled now: they are no part of the product. Raises: BenchError without a compiler."""
    sys.path.insert(0, str(_HERE.parent / "scripts"))
    import build_bpf

    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place:
        out = Path(place) / "pour.bpf.o"
        try:
            build_bpf.compile_one("../bench/pour", out, build_bpf.compiler(Path(place) / "cache"))
        except build_bpf.BuildError as e:
            raise BenchError(str(e)) from None
        return out.read_bytes()
