"""The kernel's counters that are shown."""

from __future__ import annotations

from typing import Final

# Counters of what happened to SYNs, as /proc/net/netstat and snmp name them.
COUNTERS: Final = (
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "TCPDeferAcceptDrop",
    "TCPACKSkippedSynRecv",
    "TCPSYNChallenge",
    "EmbryonicRsts",
    "TCPTimeWaitOverflow",
    "TCPAbortOnMemory",
    "TCPMigrateReqSuccess",
    "TCPMigrateReqFailure",
    "PassiveOpens",
    "AttemptFails",
    "OutRsts",
    "CurrEstab",
)
