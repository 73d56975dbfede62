"""The names of the settings that halfopen reads, and of the options of a listener that it changes."""

from __future__ import annotations

from typing import Final

SYNACK: Final = "net.ipv4.tcp_synack_retries"
COOKIES: Final = "net.ipv4.tcp_syncookies"
SYN_BACKLOG: Final = "net.ipv4.tcp_max_syn_backlog"
SOMAXCONN: Final = "net.core.somaxconn"
ABORT: Final = "net.ipv4.tcp_abort_on_overflow"
SYN_RETRIES: Final = "net.ipv4.tcp_syn_retries"
FIN_TIMEOUT: Final = "net.ipv4.tcp_fin_timeout"
TW_REUSE: Final = "net.ipv4.tcp_tw_reuse"
RTO_MAX: Final = "net.ipv4.tcp_rto_max_ms"
FASTOPEN: Final = "net.ipv4.tcp_fastopen"
MIGRATE: Final = "net.ipv4.tcp_migrate_req"
# Needed to compute the effect of other settings.
SYN_LINEAR: Final = "net.ipv4.tcp_syn_linear_timeouts"
CONNTRACK: Final = "net.netfilter.nf_conntrack_tcp_timeout_"

# Options of one listening socket, in plans and in the journal.
LISTENER: Final = "listener."
RETRIES: Final = "listener.retries"
BACKLOG: Final = "listener.backlog"
DEFER: Final = "listener.defer_accept"

# Read with every Sample, which holds them by their last name.
SAMPLED: Final = (SYNACK, COOKIES, SYN_BACKLOG, SYN_RETRIES, ABORT, RTO_MAX, FASTOPEN, MIGRATE, SOMAXCONN)
