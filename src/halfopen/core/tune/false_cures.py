"""Settings that articles recommend against half-open connections, and why they are no cure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class FalseCure(Struct, frozen=True):
    """A setting that articles recommend against half-open connections and that is no cure."""

    key: str
    truth: str


# Not in this list: settings that are no cure but exist and are shown (tcp_fin_timeout, tcp_tw_reuse …).
FALSE_CURES: Final = (
    FalseCure(
        "net.ipv4.tcp_tw_recycle", "left the kernel in 4.12; it broke clients behind NAT and concerned TIME_WAIT only"
    ),
    FalseCure("net.ipv4.tcp_keepalive_time", "concerns established connections; a half-open one has no keepalive"),
    FalseCure("net.ipv4.tcp_max_tw_buckets", "concerns TIME_WAIT; a half-open connection was never established"),
    FalseCure("net.ipv4.tcp_retries2", "concerns established connections"),
)
