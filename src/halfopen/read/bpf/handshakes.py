"""Handshakes that finish, counted in the kernel (bpf/handshakes.bpf.c)."""

from __future__ import annotations

import ctypes
import errno
import threading
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted
from halfopen.core.sample.handshakes import HandshakeCounters
from halfopen.linux.bpf import libbpf, maps
from halfopen.linux.bpf.bpf_object import REFUSE, refused_by_name
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.wire import bpf_records

_OBJECT: Final = "handshakes"
_NEEDED: Final = ("finished", "sent_again")
# Optional program → what is missing without it. Each hooks a kernel function: some hosts refuse that, some kernels lack
# the function.
_OPTIONAL: Final = {
    "arrived": "arrivals are not counted",
    "given_up": "give-ups are not counted",
    "cookies": "handshakes by SYN cookie are told from others by their timestamps alone",
}
# Programs that run for every SYN, also in a flood.
_OF_ARRIVALS: Final = ("arrived", "given_up")
_NOT_WANTED: Final = "not asked for"
_NO_HOOKS: Final = "this host lets no eBPF program hook kernel functions (fentry)"
ROOM: Final = 4096
_NOTHING: Final = (errno.ENOENT,)


class HandshakePrograms(Closable):
    """The loaded programs. They count from the moment this is made until it is closed, or the process ends.

    missing: a text that says what is not counted here and why, or "". refused: program → why it is not loaded.

    One reading at a time, from any thread; close it, or use it as a context manager.
    """

    def __init__(self, netns_inode: int = 0, *, room: int = ROOM, arrivals: bool = True) -> None:
        """netns_inode: count only this network namespace; 0: all. room: how many keys (listeners) the map holds.
        arrivals: count arrivals and give-ups as well, which costs time for every SYN.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        self._lock = threading.Lock()
        self.missing: tuple[str, ...] = ()
        self._loaded, refused = _load(room, () if arrivals else _OF_ARRIVALS)
        try:
            self._only = self._loaded.variable("only_netns", "<u4")
            self._knows_cookies = self._loaded.variable("knows_cookies", "<u4")
            self._only[0] = netns_inode
            self._cpus: int = libbpf.library().libbpf_num_possible_cpus()
            self._attach(refused)
        except BaseException:
            self._loaded.close()
            raise

    def _attach(self, refused: dict[str, str]) -> None:
        for program in _OPTIONAL:
            if program not in refused:
                try:
                    self._loaded.attach(program)
                except HalfopenError as e:
                    refused[program] = _NO_HOOKS if isinstance(e, NotPermitted) else e.message
        self._knows_cookies[0] = "cookies" not in refused
        self._counts = {program: program not in refused for program in _OPTIONAL}
        self.refused = refused = {p: why for p, why in refused.items() if why is not _NOT_WANTED}
        whys = dict.fromkeys(refused.values())
        self.missing = tuple(
            f"{', '.join(_OPTIONAL[p] for p in _OPTIONAL if refused.get(p) == why)}: {why}" for why in whys
        )
        for program in _NEEDED[::-1]:
            self._loaded.attach(program)
        self._since = time.monotonic()

    def close(self) -> None:
        """Detach and unload the programs."""
        self._loaded.close()

    def only(self, netns_inode: int) -> None:
        """From now on count only this namespace; 0: all."""
        self._only[0] = netns_inode

    def read(self) -> HandshakeCounters:
        """Counters since the programs were attached, summed over all CPUs: K keys, unordered. Raises: KernelError."""
        with self._lock:
            keys, counters = self._batches()
            now = time.monotonic()
            unfit = self._unfit()
        return HandshakeCounters(
            now, now - self._since, keys, counters, unfit, self._counts["arrived"], self._counts["given_up"]
        )

    def forget(self, keys: NDArray[Any]) -> None:
        """Make room: drop keys (K,) HANDSHAKE_KEY, such as those of namespaces that are gone.

        Raises: KernelError.
        """
        lib, fd = libbpf.library(), self._loaded.map_fd("counters")
        for key in keys:
            code = lib.bpf_map_delete_elem(fd, key.tobytes())
            if code and -code not in _NOTHING:
                raise KernelError("forgetting counters of handshakes", -code)

    def _unfit(self) -> int:
        cpus, key = np.zeros(self._cpus, dtype=bpf_records.HANDSHAKE_CPU), ctypes.c_uint32(0)
        fd = self._loaded.map_fd("cpu_state")
        code = libbpf.library().bpf_map_lookup_elem(fd, ctypes.byref(key), cpus.ctypes.data)
        if code:
            raise KernelError("reading counters of handshakes", -code)
        return int(cpus["unfit"].sum())

    def _batches(self) -> tuple[NDArray[Any], NDArray[Any]]:
        keys, values = maps.read_hash(
            self._loaded.map_fd("counters"),
            bpf_records.HANDSHAKE_KEY,
            bpf_records.HANDSHAKE_COUNTERS,
            what="handshakes",
            cpus=self._cpus,
        )
        return keys, bpf_records.handshake_counters(values)


def _load(room: int, unwanted: tuple[str, ...]) -> tuple[Loaded, dict[str, str]]:
    """The loaded object with the optional programs that this kernel accepts, and why it refuses the others."""
    refused = {p: f"switched off by {REFUSE}" for p in _OPTIONAL if refused_by_name(f"{_OBJECT}.{p}")}
    refused |= dict.fromkeys(unwanted, _NOT_WANTED)
    try:
        return _loaded(room, frozenset(refused)), refused
    except HalfopenError as e:
        if len(refused) == len(_OPTIONAL):
            raise
        # Not `e` itself: its traceback would keep this frame and the loaded object alive until garbage collection.
        is_privilege = isinstance(e, NotPermitted)
    # If this raises, the error goes to the caller: even the required programs are refused.
    bare = _loaded(room, frozenset(_OPTIONAL))
    if is_privilege:
        return bare, dict.fromkeys(_OPTIONAL, _NO_HOOKS) | refused
    bare.close()
    for program in _OPTIONAL:
        if program not in refused:
            try:
                _loaded(room, frozenset(_OPTIONAL) - {program}).close()
            except HalfopenError as e:
                refused[program] = _NO_HOOKS if isinstance(e, NotPermitted) else e.message
    return _loaded(room, frozenset(refused)), refused


def _loaded(room: int, without: frozenset[str]) -> Loaded:
    records = {
        "handshake_key": bpf_records.HANDSHAKE_KEY,
        "handshake_counters": bpf_records.HANDSHAKE_COUNTERS,
        "handshake_cpu": bpf_records.HANDSHAKE_CPU,
    }
    return Loaded(_OBJECT, records, sizes={"counters": room}, without=without)
