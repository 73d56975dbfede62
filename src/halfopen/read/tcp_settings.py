"""The settings of the calling thread's namespace that shape a SYN-ACK."""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct

from halfopen.linux import small_files

_SYS: Final = "/proc/sys/net"
_COOKIES: Final = f"{_SYS}/ipv4/tcp_syncookies"
# Older kernels show this setting in the first namespace only; in others the kernel's default is assumed.
_RMEM_MAX: Final = 212_992
_TCP_RMEM_MAX: Final = 6_291_456
_HOPS: Final = 64


class TcpSettings(Struct, frozen=True):
    """Sysctls of net.ipv4: tcp_syncookies (None: the kernel has none), tcp_timestamps, tcp_window_scaling, tcp_sack,
    tcp_ecn, the last number of tcp_rmem, ip_default_ttl; net.core.rmem_max and net.ipv6.conf.all.hop_limit; of
    netfilter nf_conntrack_tcp_loose, None where nothing is tracked."""

    cookies: int | None
    timestamps: int
    window_scaling: int
    sack: int
    ecn: int
    tcp_rmem_max: int
    rmem_max: int
    ttl: int
    hop_limit: int
    loose: int | None


def tcp_settings() -> TcpSettings:
    """Read the settings now."""
    return TcpSettings(
        cookies=_number("ipv4/tcp_syncookies"),
        timestamps=_of("ipv4/tcp_timestamps", 1),
        window_scaling=_of("ipv4/tcp_window_scaling", 1),
        sack=_of("ipv4/tcp_sack", 1),
        ecn=_of("ipv4/tcp_ecn", 0),
        tcp_rmem_max=_of("ipv4/tcp_rmem", _TCP_RMEM_MAX),
        rmem_max=_of("core/rmem_max", _RMEM_MAX),
        ttl=_of("ipv4/ip_default_ttl", _HOPS),
        hop_limit=_of("ipv6/conf/all/hop_limit", _HOPS),
        loose=_number("netfilter/nf_conntrack_tcp_loose"),
    )


def _number(name: str) -> int | None:
    words = (small_files.read(f"{_SYS}/{name}") or b"").split()
    return int(words[-1]) if words and words[-1].isdigit() else None


def _of(name: str, otherwise: int) -> int:
    found = _number(name)
    return otherwise if found is None else found


class CookiesSetting:
    """tcp_syncookies of the namespace of the thread that makes this object; may be read often and by any thread. Close
    it.
    """

    def __init__(self) -> None:
        try:
            self._fd = os.open(_COOKIES, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def read(self) -> int | None:
        """The value now; None where it cannot be read."""
        try:
            text = os.pread(self._fd, 16, 0).strip() if self._fd >= 0 else b""
        except OSError:
            return None
        return int(text) if text.isdigit() else None

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
