"""The names of the settings that `tune` knows, and the values each takes."""

from __future__ import annotations

from typing import Final

IPV4: Final = "net.ipv4."
SYNACK: Final = "net.ipv4.tcp_synack_retries"
COOKIES: Final = "net.ipv4.tcp_syncookies"
SYN_BACKLOG: Final = "net.ipv4.tcp_max_syn_backlog"
SOMAXCONN: Final = "net.core.somaxconn"
ABORT: Final = "net.ipv4.tcp_abort_on_overflow"
SYN_RETRIES: Final = "net.ipv4.tcp_syn_retries"
FIN_TIMEOUT: Final = "net.ipv4.tcp_fin_timeout"
TW_REUSE: Final = "net.ipv4.tcp_tw_reuse"
RTO_MAX: Final = "net.ipv4.tcp_rto_max_ms"
# Of use to tell what others amount to.
SYN_LINEAR: Final = "net.ipv4.tcp_syn_linear_timeouts"
CONNTRACK: Final = "net.netfilter.nf_conntrack_tcp_timeout_"

_MOST: Final = 2**31 - 1
# proc_dointvec_jiffies() multiplies by HZ: what a kernel of 1000 HZ takes, every kernel does.
_MOST_S: Final = _MOST // 1000

# What ipv4_net_table (net/ipv4/sysctl_net_ipv4.c), netns_core_table (net/core/sysctl_net_core.c) and nf_ct_sysctl_table
# (net/netfilter/nf_conntrack_standalone.c) take, where that means something: the kernel also takes tcp_syncookies from
# 3 to 255, which acts as 1, and negative sizes and times.
_RANGES: Final = {
    SYNACK: (0, 255),
    COOKIES: (0, 2),
    SYN_BACKLOG: (0, _MOST),
    SOMAXCONN: (0, _MOST),
    ABORT: (0, 255),
    SYN_RETRIES: (1, 127),
    FIN_TIMEOUT: (0, _MOST_S),
    TW_REUSE: (0, 2),
    RTO_MAX: (1000, 120_000),
}


def range_of(key: str) -> tuple[int, int]:
    """The smallest and the largest value that a setting takes."""
    return _RANGES.get(key, (0, _MOST_S))
