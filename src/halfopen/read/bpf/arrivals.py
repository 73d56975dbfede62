"""Packets that arrive at listeners and handshakes that finish, counted between two looks (bpf/arrivals.bpf.c)."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.sample.arrivals import SOURCE, Arrivals
from halfopen.linux import cgroup2
from halfopen.linux.bpf import libbpf, maps
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.read.probe import Draft, Probe
from halfopen.wire import bpf_records

OBJECT: Final = "arrivals"
# The size of the LRU map of sources (bpf/arrivals.bpf.c). If it is nearly full, some sources were displaced.
_ROOM: Final = 16384
_CROWDED: Final = _ROOM * 7 // 8
_WHAT: Final = "arrivals"
_SENT: Final = ("syns", "repeats", "acks", "resets", "ifindex")
_FINISHED: Final = ("finished", "late", "timed", "sum_us")


class ArrivalPrograms(Closable):
    """The loaded programs. They count from the moment this is made until it is closed, or the process ends.

    Close it, or use it as a context manager. Packets are counted if the root of the cgroup2 tree is visible;
    otherwise only handshakes that finish.
    """

    def __init__(self, netns_inode: int = 0) -> None:
        """netns_inode: count only this network namespace; 0: all namespaces of the machine.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        self._stack = ExitStack()
        self._why = ""
        self._loaded = self._stack.enter_context(Loaded(OBJECT, _RECORDS))
        try:
            self._loaded.variable("only_netns", "<u4")[0] = netns_inode
            self._unfit = self._loaded.variable("unfit", "<u8")
            self._cpus: int = libbpf.library().libbpf_num_possible_cpus()
            self._loaded.attach("finished")
            try:
                self._watch_packets()
            except HalfopenError as e:
                self._why = e.message
            self._since = time.monotonic()
        except BaseException:
            self.close()
            raise

    def _watch_packets(self) -> None:
        cgroup = cgroup2.root()
        self._stack.callback(os.close, cgroup)
        self._stack.enter_context(self._loaded.attached_cgroup("arrived", cgroup))

    def close(self) -> None:
        """Detach and unload the programs."""
        self._stack.close()

    def read(self, netns_inode: int) -> Arrivals:
        """The counters of one network namespace since the programs were attached. Raises: KernelError."""
        keys, per_cpu = self._read("listeners", bpf_records.HANDSHAKE_KEY, bpf_records.ARRIVALS_COUNTERS, self._cpus)
        asking = self._read("asking", bpf_records.SOURCE_KEY, bpf_records.SOURCE_COUNTERS)
        finishing = self._read("finishing", bpf_records.SOURCE_KEY, bpf_records.SOURCE_COUNTERS)
        seconds = time.monotonic() - self._since
        mine = keys["netns"] == netns_inode
        counters = np.zeros(int(mine.sum()), dtype=bpf_records.ARRIVALS_COUNTERS)
        for name in counters.dtype.names or ():
            counters[name] = per_cpu[name][mine].sum(axis=1)
        return Arrivals(
            seconds,
            keys[mine],
            counters,
            np.concatenate([_rows(*asking, netns_inode, _SENT), _rows(*finishing, netns_inode, _FINISHED)]),
            packets=not self._why,
            why=self._why,
            crowded=len(asking[0]) >= _CROWDED,
            unfit=int(self._unfit[0]),
        )

    def _read(
        self, name: str, key: np.dtype[Any], value: np.dtype[Any], cpus: int = 0
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        return maps.read_hash(self._loaded.map_fd(name), key, value, what=_WHAT, cpus=cpus)


_RECORDS: Final = {
    "handshake_key": bpf_records.HANDSHAKE_KEY,
    "arrivals_counters": bpf_records.ARRIVALS_COUNTERS,
    "source_key": bpf_records.SOURCE_KEY,
    "source_counters": bpf_records.SOURCE_COUNTERS,
}


def _rows(keys: NDArray[Any], values: NDArray[Any], inode: int, names: tuple[str, ...]) -> NDArray[Any]:
    """The rows of one namespace from one of the two maps."""
    mine = keys["netns"] == inode
    keys, values = keys[mine], values[mine]
    rows = np.zeros(len(keys), dtype=SOURCE)
    source = np.ascontiguousarray(keys["source"])
    rows["is_v4"], rows["port"] = keys["ipv4"] != 0, keys["port"]
    rows["number"] = np.where(rows["is_v4"], source.view(">u4")[::2], source.view(">u8"))
    for name in names:
        rows[name] = values[name]
    if "syns" in names:
        local = np.ascontiguousarray(values["local"]).view(">u8").reshape(-1, 2)
        rows["local_high"], rows["local_low"] = local[:, 0], local[:, 1]
    return rows


def probe(programs: ArrivalPrograms) -> Probe:
    """The probe of arrivals at the namespace that is read; the programs are counting already."""

    def read(_: Draft) -> Arrivals:
        return programs.read(os.stat("/proc/thread-self/ns/net").st_ino)

    return Probe("arrivals", ("bpf:arrivals",), read)
