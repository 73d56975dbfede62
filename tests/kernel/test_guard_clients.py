"""The guard and what clients and listeners ask for that a cookie cannot carry: MPTCP, and waiting for data."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from guarding import armed

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PATIENCE_S = 20.0
IPPROTO_MPTCP = 262
SOL_MPTCP, MPTCP_INFO = 284, 1


def test_a_client_that_asks_for_mptcp_gets_in_by_plain_tcp(lab: Lab) -> None:
    """The option is not answered, and the client falls back, as at a listener that does not speak MPTCP."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        made.settimeout(PATIENCE_S)
        made.connect((lab.server.v4, 8080))
        return made

    try:
        lab.client.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)).close()
    except OSError as e:
        pytest.skip(f"no MPTCP here: {e}")
    lab.server.listen(8080)
    with armed(lab, 8080, share=0) as guard, lab.client.run(connect) as client:
        client.sendall(b"?")
        assert client.recv(1) == b"?"
        assert (guard.counts().accepted, guard.counts().refused) == (1, 0)
        with pytest.raises(OSError, match="not supported"):
            client.getsockopt(SOL_MPTCP, MPTCP_INFO, 64)


def test_a_listener_that_waits_for_data_gets_its_client_before_them(lab: Lab) -> None:
    """TCP_DEFER_ACCEPT is ignored, as with the kernel's own cookies: there is no request that could wait."""
    listener = lab.server.run(lambda: socket.create_server((lab.server.v4, 8080)))
    with closing(listener), armed(lab, 8080, share=0) as guard:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        listener.settimeout(PATIENCE_S)
        with lab.client.run(lambda: socket.create_connection((lab.server.v4, 8080), PATIENCE_S)) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"?")
                assert server.recv(1) == b"?"
        assert guard.counts().accepted == 1
