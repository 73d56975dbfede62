"""A glance at the other network namespaces of a real machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import halfopen
from halfopen.read.beside import beside
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab


def test_a_namespace_with_a_full_accept_queue_is_seen_from_another_one(lab: Lab) -> None:
    for host in (lab.server, lab.client):
        process = host.spawn(["sleep", "60"])
        until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") == f"net:[{host.inode}]")  # noqa: B023
    stuck = lab.server.listen(9002, mode="never", backlog=0)
    client = lab.client.connect(stuck, 1, timeout=1.0)
    until(lambda: halfopen.snapshot(lab.server.netns_path, owners=False).listeners[0].accept_queue == 1)
    found = beside(lab.client.inode, budget_s=10)
    assert found.accept_full >= 1
    assert found.others >= found.accept_full + found.unseen
    assert found.first.startswith("pid:")
    client.close()


def test_without_time_nothing_is_looked_at() -> None:
    found = beside(0, budget_s=-1)
    assert (found.accept_full, found.syn_full, found.first) == (0, 0, "")
    assert found.unseen == found.others
