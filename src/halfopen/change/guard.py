"""The guard (bpf/guard.bpf.c, or the program of another rung): loading it, configuring it, and attaching it to the
devices of a namespace, at tc ingress or by XDP.

The kernel detaches it on `close` or when the process ends. Connections that it let in do not need it any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import V4_MAPPED
from halfopen.core.sample.guard import (
    COUNTS,
    GUARDED,
    GUARDED_COUNTS,
    OBJECTS,
    PROGRAM,
    RUNGS,
    SETTINGS,
    SLOTS,
    TC,
    XDP,
    GuardCounts,
)
from halfopen.linux.bpf import libbpf, maps, tcx, xdp
from halfopen.linux.bpf.guard_counts import counts_of
from halfopen.linux.bpf.loader import Loaded

_RECORDS: Final = {
    "guard_settings": SETTINGS,
    "guard_counts": COUNTS,
    "guard_listener": GUARDED,
    "guard_listener_counts": GUARDED_COUNTS,
}
# 2^36 ns: the length of the time slot that a secret is valid for (SLOT_BITS).
_SLOT_BITS: Final = 36
ANSWERS_FOR_S: Final = 10.0
"""The guard stops answering this long after the last call of `renew`."""
_FULL_SHARE: Final = 256
_WHAT: Final = "the guard's maps"


class GuardSettings(Struct, frozen=True):
    """The settings of the guard. share: it answers while the SYN queue is this full (0 to 1). Also: the largest number
    of SYN-ACKs a second to one prefix; the four values of MSS that a cookie can encode, ascending, for IPv4 and IPv6;
    the largest MSS that routes allow; and sysctls of the namespace. front_mss: the MSS that the XDP rungs announce.
    plain_timestamps: tcp_timestamps is 2.
    """

    share: float
    most_to_prefix: int
    mss: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
    most_mss: tuple[int, int] = (65535, 65535)
    timestamps: bool = True
    window_scaling: bool = True
    sack: bool = True
    ecn: bool = True
    wscale: int = 7
    hops: tuple[int, int] = (64, 64)
    front_mss: tuple[int, int] = (1460, 1440)
    plain_timestamps: bool = False


class Guard:
    """The loaded program. Close it, or use it as a context manager."""

    def __init__(self, rung: str = TC) -> None:
        """rung: one of RUNGS. Raises: Unsupported if this kernel cannot, NotPermitted, KernelError."""
        self.rung = rung
        self._links: dict[int, int] = {}
        self._fronts: dict[int, int] = {}
        self._ports: NDArray[np.uint64] = np.zeros(65536 // 64, dtype=np.uint64)
        self._listeners: set[tuple[bytes, int]] = set()
        self._local: dict[bytes, bool] = {}
        self._slot = -1
        self._loaded = Loaded(OBJECTS[rung], _RECORDS)
        try:
            self._settings = self._loaded.variable("settings", SETTINGS)
            self._settings["seed"] = np.frombuffer(os.urandom(8), dtype="<u8")
            self._settings["began"] = time.monotonic_ns()
            self._settings["rung"] = RUNGS.index(rung)
            self._cpus = libbpf.library().libbpf_num_possible_cpus()
            self._renew_secrets()
        except BaseException:
            self._loaded.close()
            raise

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach the guard from every device and unload it."""
        # The programs that answer SYNs are detached first, because those that take the ACKs must outlive them.
        for links in (self._fronts, self._links):
            for link in links.values():
                os.close(link)
            links.clear()
        self._loaded.close()

    # --- what it knows ------------------------------------------------------------------------------------------------

    def tell(self, settings: GuardSettings) -> None:
        """Apply these settings, from the next packet on."""
        to = self._settings
        to["share"] = round(settings.share * _FULL_SHARE)
        to["most_to_prefix"], to["mss"], to["most_mss"] = settings.most_to_prefix, settings.mss, settings.most_mss
        to["timestamps"], to["window_scaling"] = settings.timestamps, settings.window_scaling
        to["sack"], to["ecn"], to["wscale"], to["hops"] = settings.sack, settings.ecn, settings.wscale, settings.hops
        to["front_mss"], to["plain_timestamps"] = settings.front_mss, settings.plain_timestamps

    def is_in(self, inode: int, *, by_policy: bool = False) -> None:
        """Publish for other processes which namespace the guard is in, and whether a policy of `watch` armed it."""
        self._settings["netns"], self._settings["by_policy"] = inode, by_policy

    def tell_local(self, prefixes: Iterable[tuple[bytes, int]]) -> None:
        """Set the prefixes that are local to this host: address bytes (4 or 16), length. Raises: KernelError."""
        wanted = {_prefix_key(address, length): True for address, length in prefixes}
        if wanted != self._local:
            self._replace(self._local, wanted)
            self._local = wanted
            self._settings["local_changes"] += 1

    def _replace(self, before: Mapping[bytes, bool], wanted: Mapping[bytes, bool]) -> None:
        for key in wanted.keys() - before.keys():
            maps.put(*self._place(key), b"\1", what=_WHAT)
        for key in before.keys() - wanted.keys():
            maps.drop(*self._place(key), what=_WHAT)

    def _place(self, key: bytes) -> tuple[int, bytes]:
        # Full addresses go into a hash map, which is faster than the trie of prefixes.
        whole = int.from_bytes(key[:4], "little") == 128
        return (self._loaded.map_fd("local"), key[4:]) if whole else (self._loaded.map_fd("local_wide"), key)

    def tell_listeners(self, listeners: Iterable[tuple[bytes, int]]) -> None:
        """Set the guarded listeners: address bytes (16, IPv4 v4-mapped) and port. Raises: KernelError."""
        wanted = set(listeners)
        fd = self._loaded.map_fd("listeners")
        none = np.zeros(self._cpus, dtype=GUARDED_COUNTS)
        for one in wanted - self._listeners:
            maps.put(fd, _listener_key(*one), none, what=_WHAT)
        self._tell_ports({port for _, port in wanted})
        for one in self._listeners - wanted:
            maps.drop(fd, _listener_key(*one), what=_WHAT)
        self._listeners = wanted

    def _tell_ports(self, ports: set[int]) -> None:
        bits = np.zeros_like(self._ports)
        for port in ports:
            bits[port // 64] |= np.uint64(1) << np.uint64(port % 64)
        fd = self._loaded.map_fd("ports")
        for at in np.flatnonzero(bits != self._ports):
            maps.put(fd, np.array([at], dtype="<u4"), bits[at : at + 1], what=_WHAT)
        self._ports = bits

    def renew(self) -> None:
        """Let the guard answer for some more seconds, and renew its secrets."""
        self._renew_secrets()
        self._settings["until"] = time.monotonic_ns() + int(ANSWERS_FOR_S * 1e9)

    def _renew_secrets(self) -> None:
        """Draw secrets for new time slots; those of this slot and the one before stay."""
        now = time.monotonic_ns() >> _SLOT_BITS
        first = max(self._slot + 1, now - 1)
        for slot in range(first, now + 2):
            self._settings["secrets"][0][slot % SLOTS] = np.frombuffer(os.urandom(16), dtype="<u8")
        self._slot = max(self._slot, now + 1)

    # --- on and off ---------------------------------------------------------------------------------------------------

    def attach(self, ifindex: int, *, ethernet: bool) -> None:
        """Attach the guard to a device of the calling thread's namespace, unless it is there already.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        if ifindex in self._links:
            return
        if self.rung not in (TC, XDP):
            # These rungs attach by XDP and need an Ethernet header; on other devices the kernel handles SYNs.
            if ethernet:
                self._links[ifindex] = xdp.attach(self._loaded.program_fd(PROGRAM), ifindex)
            return
        program = PROGRAM if ethernet else f"{PROGRAM}3"
        self._links[ifindex] = tcx.attach(self._loaded.program_fd(program), ifindex)

    def attach_front(self, ifindex: int, *, in_driver: bool = True) -> None:
        """For rung XDP: attach the front to a device as well, unless it is there already. in_driver: False attaches it
        behind the driver (generic XDP), for trials.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        if ifindex not in self._fronts:
            program = self._loaded.program_fd(f"{PROGRAM}x")
            self._fronts[ifindex] = xdp.attach(program, ifindex, in_driver=in_driver)

    def detach(self, ifindex: int) -> None:
        """Detach the guard from a device, which may be gone."""
        self.detach_front(ifindex)
        link = self._links.pop(ifindex, None)
        if link is not None:
            os.close(link)

    def detach_front(self, ifindex: int) -> None:
        """Detach only the front, if there is one."""
        link = self._fronts.pop(ifindex, None)
        if link is not None:
            os.close(link)

    @property
    def devices(self) -> frozenset[int]:
        """The indices of the devices that the guard is attached to."""
        return frozenset(self._links)

    @property
    def fronts(self) -> frozenset[int]:
        """The indices of the devices that have the front as well."""
        return frozenset(self._fronts)

    def set_mode(self, mode: int) -> None:
        """OFF, ACKS or ANSWERS of core.sample.guard, from the next packet on."""
        self._settings["mode"] = mode

    # --- what it counted ----------------------------------------------------------------------------------------------

    def counts(self) -> GuardCounts:
        """The counters, summed over all CPUs. Raises: KernelError."""
        return counts_of(self._loaded.map_fd("counts"), self._cpus)

    def counts_by_listener(self) -> dict[tuple[bytes, int], tuple[int, int, int]]:
        """By listener (address, port): SYNs, answered, accepted. Raises: KernelError."""
        keys, values = maps.read_hash(
            self._loaded.map_fd("listeners"), GUARDED, GUARDED_COUNTS, what="the guard", cpus=self._cpus
        )
        totals = {name: values[name].sum(axis=1) for name in GUARDED_COUNTS.names or ()}
        return {
            (bytes(key["address"]), int(key["port"])): (
                int(totals["syns"][i]),
                int(totals["answered"][i]),
                int(totals["accepted"][i]),
            )
            for i, key in enumerate(keys)
        }


def _prefix_key(address: bytes, length: int) -> bytes:
    """A key of the map local_wide: the length in bits, and 16 bytes of address."""
    if len(address) == 4:
        address, length = V4_MAPPED + address, length + 96
    return length.to_bytes(4, "little") + address


def _listener_key(address: bytes, port: int) -> NDArray[Any]:
    key = np.zeros(1, dtype=GUARDED)
    key["address"], key["port"] = address, port
    return key
