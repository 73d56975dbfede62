"""What excludes the causes about open and closing connections."""

from __future__ import annotations

from functools import partial
from typing import Final

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    STATE_NAMES,
)

# Causes that are excluded where no connection is in a state, with the causes that look the same.
_STATES: Final[tuple[tuple[tuple[int, ...], str, tuple[str, ...]], ...]] = (
    ((CLOSE_WAIT,), "close-wait-leak", ("close-wait-idle-pool",)),
    ((CLOSE_WAIT,), "close-wait-stuck", ()),
    ((CLOSE_WAIT,), "close-wait-unanswered", ("close-wait-leak",)),
    ((CLOSE_WAIT,), "close-wait-unaccepted", ()),
    ((CLOSE_WAIT,), "close-wait-memory", ()),
    ((ESTABLISHED,), "not-accepted", ()),
    ((ESTABLISHED,), "requests-unread", ()),
    ((ESTABLISHED,), "answers-pile-up", ()),
    ((ESTABLISHED,), "idle-leak", ("pool-all-idle",)),
    ((ESTABLISHED, CLOSE_WAIT), "peer-silent", ()),
    ((ESTABLISHED,), "slow-reader", ()),
    ((ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, LAST_ACK, CLOSING), "slow-peer", ("peer-silent",)),
    ((FIN_WAIT2,), "fin-wait-held", ()),
)


def _none_in(states: tuple[int, ...], e: Evidence) -> Against:
    """The fact that no connection is in these states; nothing where that was not read, or some are."""
    if e.closing is None or any(e.closing.by_state[state] for state in states):
        return ()
    return (Fact(", ".join(STATE_NAMES[state] for state in states), 0),)


for _states, _id, _rivals in _STATES:
    excluded(_id, rivals=_rivals)(partial(_none_in, _states))


@excluded("holder-stopped")
def _runs(e: Evidence) -> Against:
    if e.closing is None or e.closing.sockets.stopped:
        return ()
    return (Fact("stopped", 0),)


@excluded("orphans-retrying")
def _retrying(e: Evidence) -> Against:
    if e.closing is None or any(e.closing.by_state[state] for state in (4, 9, 11)):
        return ()
    return (Fact("FIN_WAIT1, LAST_ACK, CLOSING", 0),)


@excluded("ports-near-end")
def _ports(e: Evidence) -> Against:
    if e.closing is None or any(one.share >= 0.5 for one in e.closing.destinations):
        return ()
    used = max((one.used for one in e.closing.destinations), default=0)
    room = e.closing.destinations[0].room if e.closing.destinations else None
    return (Fact("ports", used, room),)


@excluded("tw-overflow")
def _overflow(e: Evidence) -> Against:
    if e.closing is None or e.total("TCPTimeWaitOverflow"):
        return ()
    return (Fact("TCPTimeWaitOverflow", 0),)
