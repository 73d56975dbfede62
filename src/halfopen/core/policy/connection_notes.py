"""Notes on a change to connections, shown beside its numbers; values go where the braces are."""

from __future__ import annotations

from typing import Final

STAYS: Final = 'the programs keep the descriptors until they close them: this does not cure "too many open files"'
NOT_LOCKED: Final = "not under the connection's lock: {why}"
UNSET: Final = (
    "the kernel cannot unset TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT: an undo writes the numbers of the sysctls "
    "where they were not set"
)
IN_BURSTS: Final = (
    "keepalive probes of {connections} leave in bursts, because the kernel rounds long timers: "
    "loopback and veth take {room} packets at a time (netdev_max_backlog), and a connection that "
    "loses all its probes is reset although its peer is there"
)
NOT_ASKED: Final = (
    "not probed: {connections} with data that the peer has not acknowledged; the kernel retransmits the data or probes "
    "the closed window, and `halfopen closing` tells from that whether the peer is there"
)
WINDOW: Final = (
    "by netlink, at most {ms} ms after the last look: a connection that became active in that time "
    "was ended all the same"
)
RECORD_KEPT: Final = "the record {id} is kept: the undo can be tried again"
LEFT_OPEN: Final = (
    "halfopen was stopped while it changed options of connections: `halfopen closing keepalive --undo {id}{netns}` "
    "restores them"
)
HALF_CLOSED: Final = (
    "{connections} among them may still get an answer: nothing was sent since the client asked for something, or the "
    "rest waits for the client to read; a client that closed only its half loses that answer"
)
NOT_QUIET: Final = "left alone: {connections} that had data within {time}; --idle says for how long they must have none"
RECORD: Final = "record {id}"
OUR_PORT: Final = "no peer has that port, which is a local one: for the clients of a listener give {option}"
NOTES: Final = (
    STAYS,
    NOT_LOCKED,
    UNSET,
    IN_BURSTS,
    NOT_ASKED,
    WINDOW,
    RECORD_KEPT,
    LEFT_OPEN,
    HALF_CLOSED,
    NOT_QUIET,
    RECORD,
    OUR_PORT,
)
