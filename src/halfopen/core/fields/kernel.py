"""The kernel's counters and settings as metrics: one for each, so that no sum over a label mixes their meanings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.watched import Watched
from halfopen.core.model.model import Model
from halfopen.core.tune.keys import SAMPLED

_COUNTED: Final = {
    "ListenOverflows": ("listen_overflows", "SYNs and last ACKs dropped because an accept queue was full"),
    "ListenDrops": ("listen_drops", "SYNs and last ACKs that listeners dropped for any reason"),
    "TCPReqQFullDoCookies": ("tcp_req_q_full_do_cookies", "SYNs answered by a SYN cookie because a SYN queue was full"),
    "TCPReqQFullDrop": ("tcp_req_q_full_drop", "SYNs dropped because a SYN queue was full and SYN cookies are off"),
    "SyncookiesSent": ("syncookies_sent", "SYN-ACKs that carry a SYN cookie"),
    "SyncookiesRecv": ("syncookies_recv", "ACKs that brought a valid SYN cookie back"),
    "SyncookiesFailed": ("syncookies_failed", "ACKs with a SYN cookie that is not valid"),
    "TCPDeferAcceptDrop": ("tcp_defer_accept_drop", "last ACKs without data that `TCP_DEFER_ACCEPT` ignored"),
    "TCPACKSkippedSynRecv": ("tcp_ack_skipped_syn_recv", "ACKs to half-open connections not sent, to limit their rate"),
    "TCPSYNChallenge": ("tcp_syn_challenge", "SYNs on established connections, answered by a challenge ACK"),
    "EmbryonicRsts": ("embryonic_rsts", "half-open connections ended by an RST"),
    "TCPTimeWaitOverflow": ("tcp_time_wait_overflow", "connections closed without `TIME_WAIT`, as there were too many"),
    "TCPAbortOnMemory": ("tcp_abort_on_memory", "connections ended for lack of memory or because of too many orphans"),
    "TCPMigrateReqSuccess": ("tcp_migrate_req_success", "requests that moved to another socket of their group"),
    "TCPMigrateReqFailure": ("tcp_migrate_req_failure", "requests that could not move to another socket"),
    "PassiveOpens": ("passive_opens", "handshakes of clients that finished"),
    "AttemptFails": ("attempt_fails", "connections that failed before they were established, in either direction"),
    "OutRsts": ("out_rsts", "RSTs sent"),
}  # fmt: skip
# How many connections there are is no event.
_GAUGES: Final = ("CurrEstab",)

_SET: Final = {
    "tcp_synack_retries": "how often the SYN-ACK is retransmitted",
    "tcp_syncookies": "SYN cookies: 0 off, 1 when a queue is full, 2 always",
    "tcp_max_syn_backlog": "with SYN cookies off, new connections are refused once this many are half-open",
    "tcp_syn_retries": "how often this host retransmits its own SYNs",
    "tcp_abort_on_overflow": "1: a last ACK that finds no room in the accept queue is answered with an RST",
    "tcp_rto_max_ms": "the longest time between two retransmissions",
    "tcp_fastopen": "bits: 1 client, 2 server",
    "tcp_migrate_req": "1: requests move to another socket of their `SO_REUSEPORT` group when theirs is closed",
    "somaxconn": "the largest backlog that a listener gets",
}
_MS: Final = "_ms"


def _of(get: Callable[[Model], Any]) -> Callable[[Watched], Any]:
    return lambda watched: None if watched.now is None else get(watched.now)


def _counter(name: str) -> Field[Watched]:
    metric, help = _COUNTED[name]
    get = _of(lambda model: model.sample.counters.get(name))
    return Field(f"kernel_{metric}", f"`{name}`: {help}", get, kind=Kind.COUNTER)


def _setting(key: str) -> Field[Watched]:
    """In base units: what the kernel has in milliseconds is shown in seconds."""
    name = key.rpartition(".")[2]
    if not name.endswith(_MS):
        return Field(f"setting_{name}", f"`{key}`: {_SET[name]}", _of(lambda model: model.sample.settings.get(name)))

    def seconds(model: Model) -> float | None:
        value = model.sample.settings.get(name)
        return None if value is None else value / 1000

    metric = f"setting_{name.removesuffix(_MS)}_seconds"
    return Field(metric, f"`{key}`, in seconds: {_SET[name]}", _of(seconds), unit="s")


KERNEL_METRICS: Final = tuple(_counter(name) for name in COUNTERS if name not in _GAUGES)
"""A counter of the namespace each; those that this kernel lacks have no samples."""
SETTING_METRICS: Final = tuple(_setting(key) for key in SAMPLED)
"""A setting of the namespace each; those that this kernel lacks have no samples."""
SETTINGS_SAID: Final = tuple(
    (key, name, _SET[name].replace("`", "")) for key in SAMPLED for name in [key.rpartition(".")[2]]
)
"""Each setting that every Sample has: its full name, its name there, and what it does, in a few words."""
