"""The lab does what it says: exact counts of half-open connections, clients that complete, and bounds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.lab import Lab, LabError
from lab_looks import counter, proc_half_open, ss_half_open
from peers import until

# --- half-open connections


@pytest.mark.parametrize(
    ("address", "family", "file", "prefix"),
    [
        ("0.0.0.0", None, "tcp", "198.1"),
        ("2001:db8:1::1", None, "tcp6", "[2001:2:"),
        ("::", None, "tcp6", "[2001:2:"),
        ("::", 4, "tcp6", "[::ffff:198.1"),
    ],
)
def test_everyone_counts_the_same_23(shared: Lab, address: str, family: int | None, file: str, prefix: str) -> None:
    web = shared.server.listen(0, address)
    sent = shared.client.half_open(web, 23, family=family)
    assert sent.settled() == sent.count == 23
    rows = ss_half_open(shared, web.port)
    assert len(rows) == 23
    assert all(row.split()[3].startswith(prefix) for row in rows)
    assert proc_half_open(shared, web.port) == {"tcp": 0, "tcp6": 0} | {file: 23}
    assert shared.server.half_open(web.port) == 23
    ports = {int(row.split()[3].rpartition(":")[2]) for row in rows}
    assert ports == set(sent.source_port.tolist())


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(("sources", "distinct"), [("spoofed", 1000), ("few", 8), ("one", 1)])
def test_sources_are_as_chosen(shared: Lab, v6: bool, sources: Any, distinct: int) -> None:
    web = shared.server.listen(0, shared.server.v6 if v6 else "0.0.0.0", backlog=4000)
    first = shared.client.half_open(web, 500, sources=sources)
    second = shared.client.half_open(web, 500, sources=sources)
    assert first.settled() == second.settled() == 500
    assert shared.server.half_open(web.port) == 1000
    assert len(set(first.addresses()) | set(second.addresses())) == distinct


def test_a_hundred_thousand_arrive_exactly(lab: Lab) -> None:
    web = lab.server.listen(0, backlog=400_000)
    sent = lab.client.half_open(web, 100_000)
    assert sent.lost == 0
    assert sent.settled() == 100_000
    assert lab.server.half_open() == 100_000
    assert counter(lab, "InCsumErrors") == 0
    assert counter(lab, "ListenDrops") == 0
    assert (np.diff(sent.sent_at_s) >= 0).all()


def test_spoofed_requests_stay_until_the_kernel_gives_up(lab: Lab) -> None:
    # One retransmit: 1 s and 2 s. An RST or an ICMP error from the client's side would end them sooner.
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 1)
    webs = [lab.server.listen(0, address, backlog=1000) for address in ("0.0.0.0", lab.server.v6)]
    begun = time.monotonic()
    for web in webs:
        lab.client.half_open(web, 100)
    while time.monotonic() - begun < 2.7:
        there = lab.server.half_open()
        assert there == 200 or time.monotonic() - begun > 2.9  # so long did this look take
        time.sleep(0.1)
    lab.settle(0)
    assert time.monotonic() - begun < 6.9  # what another retransmit would take
    assert counter(lab, "EmbryonicRsts") == 0


def test_rate_is_kept_and_times_are_true(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=1000)
    begun = time.monotonic()
    sent = shared.client.half_open(web, 200, rate=400)
    ended = time.monotonic()
    assert begun <= sent.sent_at_s[0] <= sent.sent_at_s[-1] <= ended
    # None before its time; late where others use the machine.
    assert (sent.sent_at_s - begun - np.arange(200) / 400).min() > -0.01
    assert ended - begun < 20


def test_flood_runs_in_the_background_and_stops(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=20_000)
    flood = shared.client.flood(web, rate=1000, duration_s=0.5)
    assert flood.wait(60)
    first = flood.stop()
    # As many as its time allows; fewer where others use the machine.
    assert 0 < first <= 500
    shared.server.wait_half_open(first, port=web.port)
    flood = shared.client.flood(web, rate=1000, duration_s=60)
    until(lambda: flood.sent > 0)
    sent = flood.stop()
    assert not flood.running
    shared.server.wait_half_open(first + sent, port=web.port)


# --- clients that complete


@pytest.mark.parametrize("address", ["0.0.0.0", "2001:db8:1::1"])
def test_slow_clients_complete(shared: Lab, address: str) -> None:
    web = shared.server.listen(0, address, backlog=1000)
    # Time to see all of them half-open, on a busy machine too.
    slow = shared.client.slow(web, 200, delay_s=3, spread_s=0.2)
    shared.server.wait_half_open(200, port=web.port)
    assert slow.completed == 0
    assert slow.wait(60) == slow.answered == 200
    until(lambda: web.accepted == 200)
    assert shared.server.half_open(web.port) == 0


def test_slow_clients_find_their_answers_in_a_flood(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=100_000)
    flood = shared.client.flood(web, rate=5000, duration_s=60)
    slow = shared.client.slow(web, 100, delay_s=0.2, sources="few")
    assert slow.wait(60) == 100
    flood.stop()
    until(lambda: web.accepted == 100)


def test_honest_clients_echo(shared: Lab) -> None:
    web = shared.server.listen(0, "::")
    for family in (4, 6):
        clients = shared.client.connect(web, 50, family=family)
        assert clients.connected == clients.alive() == clients.alive() == 50
        clients.close()
    until(lambda: web.accepted == 100)


@pytest.mark.parametrize("other_process", [False, True])
def test_lost_acks_leave_real_clients_half_open(shared: Lab, other_process: bool) -> None:
    web = shared.server.listen(0, other_process=other_process)
    before = shared.client.connect(web, 5)
    assert before.alive() == 5
    web.lose_acks()
    clients = shared.client.connect(web, 10)
    assert clients.connected == 10  # so they think
    assert shared.server.half_open(web.port) == len(ss_half_open(shared, web.port)) == 10
    assert before.alive() == 5
    web.lose_acks(False)
    assert clients.alive(timeout=10) == 10
    assert shared.server.half_open(web.port) == 0


# --- bounds


def test_it_takes_listeners_of_its_own_and_nothing_else(shared: Lab, lab: Lab) -> None:
    foreign = lab.server.listen(0)
    client = shared.client
    for attempt in (client.half_open, client.connect, client.slow):
        for target in ("192.0.2.1", ("192.0.2.1", 80), 8080, None):
            with pytest.raises(TypeError, match="Listener"):
                attempt(target, 1)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="another lab"):
            attempt(foreign, 1)
    with pytest.raises(TypeError, match="Listener"):
        client.flood("192.0.2.1", 1, 1)  # type: ignore[arg-type]
    foreign.close()
    with pytest.raises(UsageError, match="closed"):
        lab.client.half_open(foreign, 1)


def test_it_is_bounded_in_count_rate_and_time(shared: Lab) -> None:
    web, client = shared.server.listen(0), shared.client
    attempts: list[Callable[[], object]] = [
        lambda: client.half_open(web, 2_000_001),
        lambda: client.half_open(web, -1),
        lambda: client.half_open(web, 1, rate=0),
        lambda: client.half_open(web, 1, rate=float("nan")),
        lambda: client.half_open(web, 601, rate=1),
        lambda: client.half_open(web, 100_000, sources="one"),
        lambda: client.half_open(web, 1, sources="everywhere"),  # type: ignore[arg-type]
        lambda: client.half_open(web, 1, family=6),
        lambda: client.flood(web, 10, 601),
        lambda: client.flood(web, 2_000_000, 1),
        lambda: client.slow(web, 1, delay_s=601),
        lambda: client.connect(web, 20_001),
        lambda: shared.server.listen(0, "198.51.100.1x"),
        lambda: shared.server.listen(0, mode="sometimes"),  # type: ignore[arg-type]
        lambda: shared.server.set_sysctl("kernel.panic", 1),
    ]
    for attempt in attempts:
        with pytest.raises(UsageError):
            attempt()
    assert shared.server.half_open(web.port) == 0


def test_other_hosts_addresses_are_not_the_servers(shared: Lab) -> None:
    with pytest.raises(HalfopenError):
        shared.server.listen(0, "198.51.100.1")


def test_nothing_works_outside_the_context() -> None:
    lab = Lab()
    with pytest.raises(LabError, match="not open"):
        lab.server  # noqa: B018
    with lab:
        server = lab.server
    lab.close()
    with pytest.raises(LabError, match="closed"):
        server.listen(0)


# --- commands and settings inside


def test_commands_run_inside_with_their_input_and_within_their_time(shared: Lab) -> None:
    assert shared.server.exec(["cat"], input="x").stdout == "x"
    assert shared.server.exec(["sh", "-c", "exit 7"]).returncode == 7
    with pytest.raises(LabError, match="no such command"):
        shared.server.exec(["halfopen-no-such-command"])
    with pytest.raises(LabError, match="did not end"):
        shared.server.exec(["sleep", "60"], timeout=0.2)
    assert shared.server.inode == os.stat(shared.server.netns_path).st_ino
    assert f"net:[{shared.server.inode}]" in shared.server.exec(["readlink", "/proc/self/ns/net"]).stdout


def test_settings_are_the_kernels_own_but_for_somaxconn(shared: Lab) -> None:
    assert shared.server.sysctl("net.ipv4.tcp_syncookies") == "1"
    assert shared.server.sysctl("net.ipv4.tcp_synack_retries") == "5"
    assert int(shared.server.sysctl("net.core.somaxconn")) >= 1_000_000
