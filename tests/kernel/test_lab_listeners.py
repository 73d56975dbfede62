"""The lab makes listeners of each kind, as `ss` and their clients see them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from halfopen.lab import Lab, LabError, LabListener
from lab_looks import ss_half_open, ss_listeners
from peers import until


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "0.0.0.0:{}"),
        ({"address": "192.0.2.1"}, "192.0.2.1:{}"),
        ({"address": "::"}, "*:{}"),
        ({"address": "::", "v6only": True}, "[::]:{}"),
        ({"address": "2001:db8:1::1"}, "[2001:db8:1::1]:{}"),
        ({"device": "lab-server"}, "0.0.0.0%lab-server:{}"),
        ({"mode": "never"}, "0.0.0.0:{}"),
        ({"other_process": True}, "0.0.0.0:{}"),
    ],
)
def test_ss_shows_each_kind_of_listener(shared: Lab, options: dict[str, Any], shown: str) -> None:
    web = shared.server.listen(0, backlog=77, **options)
    (row,) = ss_listeners(shared, web.port)
    assert row[0] == "LISTEN"
    assert row[2] == "77"
    assert row[3] == shown.format(web.port)
    web.close()
    assert ss_listeners(shared, web.port) == []


def test_reuseport_listeners_share_a_port(shared: Lab) -> None:
    web = shared.server.listen(0, reuseport=4)
    assert len(ss_listeners(shared, web.port)) == 4
    assert len(set(web.inodes)) == len(web.sockets) == 4
    sent = shared.client.half_open(web, 23)
    assert sent.settled() == 23


def test_other_process_alone_holds_the_socket(shared: Lab) -> None:
    web = shared.server.listen(0, other_process=True)
    assert web.sockets == []
    (pid,) = web.pids
    assert pid != os.getpid()
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert f"socket:[{web.inodes[0]}]" in links
    clients = shared.client.connect(web, 5)
    assert clients.alive() == 5
    until(lambda: web.accepted == 5)
    web.close()
    assert not os.path.exists(f"/proc/{pid}")


def test_taken_port_is_one_clear_error(shared: Lab) -> None:
    for other_process in (False, True):
        web = shared.server.listen(0)
        with pytest.raises(LabError, match="is taken"):
            shared.server.listen(web.port, other_process=other_process)


def test_retries_override_the_release_time(lab: Lab) -> None:
    web = lab.server.listen(0, backlog=1000, retries=1)
    usual = lab.server.listen(0, backlog=1000)
    lab.client.half_open(usual, 23)
    lab.client.half_open(web, 23)
    until(lambda: lab.server.half_open(web.port) == 0)
    assert lab.server.half_open(usual.port) == 23


def test_never_accepting_listener_fills_its_queue(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=4, mode="never")
    clients = shared.client.connect(web, 10, timeout=0.5)
    assert clients.connected == 5
    assert ss_listeners(shared, web.port)[0][1] == "5"
    assert web.accepted == 0
    clients.close()


def test_holding_listener_keeps_silent(shared: Lab) -> None:
    web = shared.server.listen(0, mode="hold")
    clients = shared.client.connect(web, 3)
    until(lambda: web.accepted == 3)
    assert clients.alive(timeout=0.2) == 0


def test_deferred_clients_sit_in_syn_recv_until_they_speak(shared: Lab) -> None:
    web = shared.server.listen(0, defer_accept_s=30)
    clients = shared.client.connect(web, 10)
    assert clients.connected == 10
    assert shared.server.half_open(web.port) == len(ss_half_open(shared, web.port)) == 10
    assert clients.alive() == 10
    assert shared.server.half_open(web.port) == 0


def test_listener_is_exported() -> None:
    assert LabListener.__module__ == "halfopen.lab.listener"
