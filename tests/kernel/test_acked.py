"""Hosts that acknowledge the SYN-ACKs of a deferring listener and send nothing: they alone are offered for a block."""

from __future__ import annotations

import json
import re
import shlex
import socket
import time
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import document, halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

# The proof is that requests outlast the time the listener waits for data, so the test has to wait for it too.
pytestmark = [pytest.mark.root, pytest.mark.slow]

HOST = "198.19.247.9"
PATIENCE_S = 20.0
WAITS_S = 1
# The listener's time for data, and the 3 s that the rule adds to it.
OVERDUE_S = WAITS_S + 3.5


def test_only_the_hosts_that_are_proven_are_offered_for_a_block(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=4096, defer_accept_s=WAITS_S)
    # A client that is there and as silent: its kernel answers the SYN-ACK that comes again, and it is accepted.
    silent = lab.client.run(lambda: socket.create_connection((lab.server.v4, 8080), PATIENCE_S))
    with silent:
        lab.client.flood(listener, 50, 60.0)
        guilty = lab.client.slow(listener, 40_000, 0.0, rate=80, sources="one")
        until(lambda: guilty.completed > 100)
        time.sleep(OVERDUE_S)
        [seen] = document("diagnose", "--for", "1s", "--json", "--netns", lab.server.netns_path)["namespaces"]
        [found] = [one for one in seen["findings"] if one["id"] == "acked-flood"]
        assert f"{HOST} acknowledges the SYN-ACKs of :8080 and sends nothing more" in found["text"]
        # Wherever in the document a block is offered.
        (offered,) = set(re.findall(r'halfopen (block [^"]*)', json.dumps(seen)))
        words = shlex.split(offered)
        assert words[:3] == ["block", HOST, "--port"], offered
        # As it was offered it is carried out; it ends the flood and takes nothing from the client.
        done = halfopen(*words, "--reason", "test")
        assert done.returncode == 0, done.stderr
        silent.sendall(b"?")
        assert silent.recv(1) == b"?"
        before = guilty.answered
        until(lambda: guilty._asked > before + 60)
        assert guilty.answered < before + 10
    guilty.stop()
