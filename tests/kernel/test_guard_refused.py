"""Where a guard would harm somebody it is not armed, and says why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from guarding import action, armed, connect
from halfopen.core.errors import CannotGuard, UnknownTarget
from halfopen.ops.protect.armed import Armed

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


@contextmanager
def multipath(lab: Lab, port: int) -> Iterator[None]:
    """An MPTCP listener on the lab's server."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
        made.bind(("", port))
        made.listen()
        return made

    try:
        made = lab.server.run(listen)
    except OSError as e:
        pytest.skip(f"no MPTCP here: {e}")
    with made:
        yield


def test_an_mptcp_listener_is_refused_and_the_others_are_guarded(lab: Lab) -> None:
    lab.server.listen(8080)
    with multipath(lab, 9090):
        with pytest.raises(CannotGuard, match=r":9090 is not guarded: its listener speaks MPTCP"):
            Armed(*action(lab, 9090))
        with armed(lab) as guard:
            assert guard.chosen.guarded == (":8080",)
            assert len(guard.chosen.notes) == 1
    # One that comes while the guard is armed is left to the kernel all the same.
    with armed(lab, share=0) as guard, multipath(lab, 8081):
        guard.guard.tell_listeners([*guard.chosen.keys, (bytes(10) + b"\xff\xff" + bytes(4), 8081)])
        connect(lab, 8081).close()
        assert guard.counts().passed_for("mptcp") == 1


def test_where_it_would_harm_it_is_not_armed(lab: Lab) -> None:
    lab.server.listen(8080)
    with pytest.raises(UnknownTarget, match="no listener has :81"):
        Armed(*action(lab, 81))
    lab.server.exec(["nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }"], check=True)
    rule = "add rule inet t c tcp flags & (fin|syn|rst|ack) != syn ct state new drop"
    lab.server.exec(["nft", rule], check=True)
    with pytest.raises(CannotGuard, match="a firewall rule would drop every client"):
        Armed(*action(lab, 8080))
    lab.server.exec(["nft", "flush ruleset; add table inet t"], check=True)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    with pytest.raises(CannotGuard, match="tcp_syncookies is 0"):
        Armed(*action(lab, 8080))


def test_where_connections_are_tracked_strictly_it_is_not_armed(lab: Lab) -> None:
    lab.server.listen(8080)
    rules = "table inet t { chain c { type filter hook input priority 0; ct state established accept; }; }"
    lab.server.exec(["nft", rules], check=True)
    try:
        lab.server.set_sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    except OSError:
        pytest.skip("no connection tracking here")
    with pytest.raises(CannotGuard, match="nf_conntrack_tcp_loose is 0"):
        Armed(*action(lab, 8080))
