"""What is said of keepalive on more connections than loopback takes probes of at a time."""

from __future__ import annotations

import pytest

from halfopen.core.policy.connection_actions import KEEPALIVE_ON, ChangedConnections
from halfopen.ops.closing import retrofitting


@pytest.mark.parametrize(("shown", "room"), [("300\n", 300), ("", 1000)])
def test_bursts_of_probes_are_told(monkeypatch: pytest.MonkeyPatch, shown: str, room: int) -> None:
    monkeypatch.setattr(retrofitting.small_files, "text", lambda *_: shown.strip())
    assert retrofitting.in_bursts(ChangedConnections(KEEPALIVE_ON, "host", "all", matched=room)) == ()
    [told] = retrofitting.in_bursts(ChangedConnections(KEEPALIVE_ON, "host", "all", matched=room + 1))
    assert f"{room + 1:,} connections" in told
    assert f"{room:,} packets" in told
