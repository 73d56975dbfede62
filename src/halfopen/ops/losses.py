"""Whether packets are lost, SYNs dropped or handshakes reset often enough for a second look to tell more."""

from __future__ import annotations

from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.lost import NOTICED, lost_rates, ruled_out
from halfopen.core.model.model import Model
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.linux.netns import Netns
from halfopen.read import before_tcp, procfs

_COUNTERS: Final = ("IPReversePathFilter", "EmbryonicRsts", "ListenDrops")
# "Often" is this share of the handshakes that finished, but at least _LEAST; the table of tracked connections counts
# as full from _FULL of its limit.
_OFTEN: Final = 0.01
_LEAST: Final = 10
_FULL: Final = 0.9


def often_lost(model: Model) -> bool:
    """Whether packets were lost, SYNs dropped or handshakes reset often since the namespace was made. A second look is
    worth it then, to see whether that still goes on.
    """
    counters = model.sample.counters
    part = model.sample.part(BeforeTcp)
    table = part.conntrack if part is not None else None
    often = max(_LEAST, counters.get("PassiveOpens", 0) * _OFTEN)
    if table is not None and table.count > table.limit * _FULL:
        return True
    if model.sample.settings.get("tcp_syncookies") == 2 and counters.get("SyncookiesSent"):
        # Nothing is half-open then: only counters tell whether cookies come back and which clients lose window scaling.
        return True
    if part is not None and _queues_dropped_often(part):
        # Queues drop in bursts. `losing`, which compares two moments close together, would mostly fall between them.
        return True
    return any(counters.get(name, 0) >= often for name in _COUNTERS)


def _queues_dropped_often(part: BeforeTcp) -> bool:
    behind = sum(cpu.dropped for cpu in part.cpus)
    lost = ((max(one.missed, min(one.dropped, behind)), one.packets) for one in part.devices)
    return any(n >= _LEAST and n >= (packets + n) * NOTICED for n, packets in lost)


def losing(ns: Netns, model: Model) -> bool:
    """Whether packets were lost, SYNs dropped or handshakes reset since the Model was read; False where the
    namespace is gone.
    """
    earlier = model.sample.part(BeforeTcp)
    if earlier is None:
        return False
    try:
        counters, now = ns.run(lambda: (procfs.counters(), before_tcp.read(earlier)))
    except HalfopenError:
        return False
    rates, was = lost_rates(now), model.sample.counters
    lost = rates.missed or min(rates.dropped, rates.softnet_dropped) or rates.conntrack_drops or ruled_out(rates)
    return bool(lost) or any(counters.get(name, 0) > was.get(name, 0) for name in _COUNTERS)
