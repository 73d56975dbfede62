"""What excludes the causes about open and closing connections."""

from __future__ import annotations

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED, FIN_WAIT2


def _none_in(e: Evidence, state: int, name: str) -> Against:
    """The fact that no connection is in a state; nothing where that was not read, or some are."""
    if e.closing is None or e.closing.by_state[state]:
        return ()
    return (Fact(name, 0),)


@excluded("close-wait-leak", rivals=("close-wait-idle-pool",))
def _leak(e: Evidence) -> Against:
    return _none_in(e, CLOSE_WAIT, "CLOSE_WAIT")


@excluded("close-wait-stuck")
def _stuck(e: Evidence) -> Against:
    return _none_in(e, CLOSE_WAIT, "CLOSE_WAIT")


@excluded("close-wait-unaccepted")
def _unaccepted(e: Evidence) -> Against:
    return _none_in(e, CLOSE_WAIT, "CLOSE_WAIT")


@excluded("close-wait-memory")
def _memory(e: Evidence) -> Against:
    return _none_in(e, CLOSE_WAIT, "CLOSE_WAIT")


@excluded("idle-leak", rivals=("pool-all-idle",))
def _idle_leak(e: Evidence) -> Against:
    return _none_in(e, ESTABLISHED, "ESTABLISHED")


@excluded("peer-silent")
def _silent(e: Evidence) -> Against:
    return _none_in(e, ESTABLISHED, "ESTABLISHED")


@excluded("slow-reader")
def _slow_reader(e: Evidence) -> Against:
    return _none_in(e, ESTABLISHED, "ESTABLISHED")


@excluded("slow-peer", rivals=("peer-silent",))
def _slow_peer(e: Evidence) -> Against:
    return _none_in(e, ESTABLISHED, "ESTABLISHED")


@excluded("fin-wait-held")
def _held(e: Evidence) -> Against:
    return _none_in(e, FIN_WAIT2, "FIN_WAIT2")


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
