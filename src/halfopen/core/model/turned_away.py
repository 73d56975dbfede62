"""Whose clients were turned away between two readings: ListenDrops tells how many, sk_drops at most whose.

sk_drops also counts SYNs that were sent again and answered, RSTs, and the last ACKs without data that TCP_DEFER_ACCEPT
ignores (`tcp_v4_do_rcv()`, discard); ListenDrops counts every SYN and handshake that was turned away, and nothing else,
but for the whole namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from halfopen.core.model.listeners import ListenerView
from halfopen.core.where import ListenerKey

# A queue that is full has a place or two at the moment of a reading: requests run out, a program accepts.
_FULL: Final = 0.9
_DROPS, _DEFERRED = "ListenDrops", "TCPDeferAcceptDrop"


def turned_away(
    now: Iterable[ListenerView],
    before: Iterable[ListenerView],
    counters: Mapping[str, int],
    old: Mapping[str, int],
) -> dict[ListenerKey, int]:
    """How many SYNs and handshakes each listener turned away between two readings, of those of which that can be told.

    counters, old: of the namespace, now and before. A listener with a full queue comes first: the drops of another one
    count only where those with a full queue do not account for half of what the namespace turned away. Those of a
    listener that defers prove nothing unless its queue is full.
    """
    dropped = _gained(_DROPS, counters, old)
    if not dropped:
        return {}
    earlier = {view.key: view for view in before}
    ignored = _gained(_DEFERRED, counters, old) > 0
    full: dict[ListenerKey, int] = {}
    others: dict[ListenerKey, int] = {}
    for view in now:
        last = earlier.get(view.key)
        if last is None or view.drops <= last.drops:
            continue
        more = min(view.drops - last.drops, dropped)
        if may_be_full(view) or may_be_full(last):
            full[view.key] = more
        elif not (view.defers or last.defers or (ignored and view.defers is None)):
            others[view.key] = more
    rest = dropped - sum(full.values())
    if full and 2 * rest <= dropped:
        return full
    return full | {key: min(more, rest) for key, more in others.items()}


def prove_nothing(view: ListenerView, counters: Mapping[str, int]) -> bool:
    """Whether all drops of a listener since it was opened may be last ACKs without data, which it let wait."""
    return view.defers is not False and not may_be_full(view) and view.drops <= counters.get(_DEFERRED, 0)


def may_be_full(view: ListenerView) -> bool:
    """Whether a queue of a listener is full, or that of one of the sockets of its group may be."""
    if view.accept_queue_cap and view.accept_queue >= max(1.0, _FULL * view.accept_queue_cap / view.members):
        return True
    if not view.syn_queue_limit:
        return False
    held = view.held if view.queues is None or view.members == 1 else int(view.queues["qlen"].max())
    return held >= max(1.0, _FULL * view.syn_queue_limit / view.members)


def _gained(name: str, counters: Mapping[str, int], old: Mapping[str, int]) -> int:
    return max(0, counters[name] - old[name]) if name in counters and name in old else 0
