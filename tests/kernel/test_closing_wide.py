"""Filters and cures of connections with IPv6 and v4-mapped addresses."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from halfopen.core.units import endpoint_text
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PORT = 8080


@pytest.mark.parametrize("refused", ["", "closers"])
def test_ipv6_and_v4_mapped_ends_are_ended_too(lab: Lab, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    with ExitStack() as opened:
        listener = lab.client.run(
            lambda: socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
        )
        opened.enter_context(listener)
        servers = []
        for at in (("::1", PORT), ("127.0.0.1", PORT)):
            client = lab.client.run(lambda at=at: socket.create_connection(at, 5))  # type: ignore[misc]
            servers.append(opened.enter_context(listener.accept()[0]))
            client.close()
        assert {one.getpeername()[0] for one in servers} == {"::1", "::ffff:127.0.0.1"}
        for place in (f"[::1]:{PORT}", f"127.0.0.1:{PORT}"):
            listed = ("closing", "list", "--listener", place, "--json")
            done_list = lab.client.run(lambda listed=listed: halfopen(*listed))  # type: ignore[misc]
            rows = json.loads(done_list.stdout)["connections"]
            assert [endpoint_text(row["local_address"], row["local_port"]) for row in rows] == [place]
        words = ("closing", "destroy", "--state", "close-wait", "--idle", "0s", "--yes", "--json")

        def ended() -> int:
            return int(json.loads(lab.client.run(lambda: halfopen(*words)).stdout)["done"])

        end, done = time.monotonic() + 20, ended()
        while done < 2:
            assert time.monotonic() < end, done
            done += ended()
        for one in servers:
            with pytest.raises(OSError, match="abort"):
                one.send(b"x")
