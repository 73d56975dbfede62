"""The wire's handle: its two packet sockets, the process that carries, its rules and its counters."""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from typing import Final

from halfopen.core.errors import LabError, Unsupported
from halfopen.lab.host import LabHost
from halfopen.lab.wire import carrier
from halfopen.lab.wire.rules import WireRule
from halfopen.lab.wiring import CLIENT
from halfopen.linux.own_code import SOURCE

_MOST_RULES: Final = carrier.PAGE // 8 - carrier.RULES
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_STXCSUM: Final = 0x17
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_IGNORE_OUTGOING: Final = 23
_PACKET_QDISC_BYPASS: Final = 20
_RECEIVE_BYTES: Final = 64 << 20
_ALL: Final = 0x0003
# Classic BPF on a frame: only those for the client's hardware address, so that answers to spoofed sources cost nothing.
_FOR_THE_CLIENT: Final = (
    (0x20, 0, 0, 2),  # ld [2]: the last four bytes of the destination
    (0x15, 0, 1, int(CLIENT.mac.replace(":", "")[4:], 16)),
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
)


def finish_checksums(host: LabHost) -> None:
    """Make the host's kernel compute the checksums of its frames: a veth leaves them to hardware, which does not exist.

    Raises: Unsupported.
    """

    def off() -> None:
        value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", host.device.encode(), ctypes.addressof(value)) + bytes(16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, _SIOCETHTOOL, request)

    try:
        host.run(off)
    except OSError as e:
        raise Unsupported("ethtool", f"the lab's {host.name} keeps its checksum offload: {e.strerror}") from None


def _tap(host: LabHost, device: str, filter_: tuple[tuple[int, int, int, int], ...]) -> socket.socket:
    def open_() -> socket.socket:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        s.bind((device, _ALL))
        return s

    try:
        s = host.run(open_)
    except OSError as e:
        why = f"no packet socket in the lab: {e.strerror}"
        raise Unsupported("packet sockets", why, hint="modprobe af_packet") from None
    try:
        s.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        s.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        if filter_:
            code = b"".join(struct.pack("=HBBI", *op) for op in filter_)
            buffer = ctypes.create_string_buffer(code, len(code))
            program = struct.pack("@HP", len(filter_), ctypes.addressof(buffer))
            s.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        try:
            s.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        except PermissionError:  # in a user namespace of an older kernel: the default buffer
            pass
    except BaseException:
        s.close()
        raise
    return s


class Wire:
    """The wire between two devices of one host: `to_server` faces the server, `to_client` the client.

    Everything is carried at once until rules say otherwise. Frames longer than `carrier.FRAME` bytes are not carried.
    Raises: LabError when the process does not start, Unsupported, NotPermitted.
    """

    def __init__(self, host: LabHost, to_server: str, to_client: str, seed: int) -> None:
        self._host = host
        self.rules: list[WireRule] = []
        memory = os.memfd_create("lab-wire")
        os.ftruncate(memory, carrier.PAGE)
        self._page = mmap.mmap(memory, carrier.PAGE)
        self._process: subprocess.Popen[bytes] | None = None
        with _tap(host, to_server, _FOR_THE_CLIENT) as server, _tap(host, to_client, ()) as client:
            fds = [server.fileno(), client.fileno(), memory]
            env = {**os.environ, "PYTHONPATH": SOURCE, "OPENBLAS_NUM_THREADS": "1"}
            words = ["exec", sys.executable, "-P", "-m", "halfopen.lab.wire.carrier"]
            pipe = subprocess.PIPE
            self._process = host.start(words, stdin=pipe, stdout=pipe, pass_fds=fds, env=env)
            want = {"server_fd": fds[0], "client_fd": fds[1], "page_fd": fds[2], "seed": seed, "rules": []}
            os.close(self._told(want, memory))

    def _told(self, want: object, memory: int) -> int:
        try:
            self._tell(want)
        except BaseException:
            os.close(memory)
            self.close()
            raise
        return memory

    def _tell(self, words: object) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise LabError("the lab's wire is closed")
        try:
            process.stdin.write(json.dumps(words).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise LabError("the process that carries the lab's wire has ended") from None
        if not process.stdout.readline():
            raise LabError("the process that carries the lab's wire has ended")

    def add(self, *rules: WireRule) -> None:
        """Put more rules in force, after those there are. Returns once they hold. Raises: UsageError, LabError."""
        self.change([*self.rules, *rules])

    def change(self, rules: list[WireRule]) -> None:
        """Put these rules in force instead. Returns once they hold. Raises: UsageError, LabError."""
        if len(rules) > _MOST_RULES:
            raise LabError(f"the lab's wire has at most {_MOST_RULES} rules")
        for rule in rules:
            rule.check()
        self._tell([rule.as_json() for rule in rules])
        self.rules = list(rules)

    def _count(self, at: int) -> int:
        value: int = struct.unpack_from("=Q", self._page, 8 * at)[0]
        return value

    @property
    def refused(self) -> int:
        """How many frames were too long, or found no room."""
        return self._count(carrier.REFUSED)

    @property
    def late_s(self) -> float:
        """The greatest delay of a frame beyond its rules, s: how far the machine fell behind."""
        return self._count(carrier.LATE_US) / 1e6

    def lost(self, rule: WireRule) -> int:
        """How many frames a rule lost so far."""
        return self._count(carrier.RULES + self.rules.index(rule))

    def close(self) -> None:
        """End the process; frames in transit are lost."""
        process, self._process = self._process, None
        if process is not None:
            self._host.end(process)
