"""What arrives at listeners and what of it finishes, counted on a real host."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import halfopen
from halfopen.core.errors import HalfopenError, Unsupported
from halfopen.core.model.arrived import Arrived
from halfopen.core.sample.arrivals import Arrivals
from halfopen.lab import Lab
from halfopen.linux import cgroup2
from halfopen.ops.looks import Looks, looks
from halfopen.read import peers
from halfopen.read.bpf.arrivals import ArrivalPrograms
from peers import until
from verdicts import number

pytestmark = pytest.mark.root


@pytest.fixture
def programs(lab: Lab) -> Iterator[ArrivalPrograms]:
    try:
        made = ArrivalPrograms(lab.server.inode)
    except HalfopenError as e:
        pytest.skip(e.message)
    with made:
        if not made.read(lab.server.inode).packets:
            pytest.skip("the root of the cgroup tree is out of sight")
        yield made


def read(programs: ArrivalPrograms, lab: Lab) -> Arrivals:
    return programs.read(lab.server.inode)


def total(part: Arrivals, name: str) -> int:
    return int(part.counters[name].sum())


def of(part: Arrivals, address: str, name: str) -> int:
    """What was counted of one source, by address."""
    return int(part.sources[name][part.sources["number"] == number(address)].sum())


def test_syns_and_finished_handshakes_by_listener_and_source(lab: Lab, programs: ArrivalPrograms) -> None:
    web, other = lab.server.listen(8080, backlog=512), lab.server.listen(8081)
    lab.client.half_open(web, 60, sources="spoofed")
    clients = lab.client.connect(web, 7), lab.client.connect(other, 3)
    until(lambda: total(read(programs, lab), "syns") == 70)
    part = read(programs, lab)
    by_port = {int(key["port"]): row for key, row in zip(part.keys, part.counters, strict=True)}
    assert (by_port[8080]["syns"], by_port[8080]["finished"]) == (67, 7)
    assert (by_port[8081]["syns"], by_port[8081]["finished"]) == (3, 3)
    assert (of(part, lab.client.v4, "syns"), of(part, lab.client.v4, "finished")) == (10, 10)
    assert of(part, lab.client.v4, "timed") == 10
    assert total(part, "repeats") == total(part, "late") == total(part, "resets") == 0
    # The forged sources finish nothing.
    assert part.sources["finished"].sum() == 10
    assert not part.crowded
    assert part.unfit == 0
    for one in clients:
        one.close()


@pytest.mark.parametrize("timestamps", [0, 1])
def test_clients_without_timestamps_are_counted(lab: Lab, programs: ArrivalPrograms, timestamps: int) -> None:
    """A SYN cookie keeps neither window scaling nor SACK for these."""
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    lab.client.set_sysctl("net.ipv4.tcp_timestamps", timestamps)
    clients = lab.client.connect(lab.server.listen(8080), 4)
    until(lambda: total(read(programs, lab), "finished") == 4)
    assert total(read(programs, lab), "no_timestamps") == (0 if timestamps else 4)
    clients.close()


def test_both_families_at_one_socket(lab: Lab, programs: ArrivalPrograms) -> None:
    web = lab.server.listen(8080, address="::")
    if not lab.server.v6:
        pytest.skip("no IPv6")
    clients = lab.client.connect(web, 2, family=4), lab.client.connect(web, 3, family=6)
    part = read(programs, lab)
    for address, n in ((lab.client.v4, 2), (lab.client.v6, 3)):
        rows = part.sources[part.sources["number"] == number(address)]
        assert (rows["syns"].sum(), rows["finished"].sum()) == (n, n)
        assert set(rows["is_v4"].tolist()) == {":" not in address}
    assert sorted(int(n) for n in part.counters["finished"]) == [2, 3]
    for one in clients:
        one.close()


def deafen(lab: Lab) -> None:
    """Have what the server sends go to a device that is not there."""
    words = ["ip", "neigh", "replace", lab.client.v4, "lladdr", "02:00:00:00:00:99", "dev", lab.server.device]
    assert lab.server.exec([*words, "nud", "permanent"]).returncode == 0


def begin(lab: Lab, port: int, n: int) -> list[socket.socket]:
    """Clients that begin to connect."""

    def connect() -> list[socket.socket]:
        made = []
        for _ in range(n):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((lab.server.v4, port))
            made.append(s)
        return made

    return lab.client.run(connect)


def test_a_client_that_hears_nothing_repeats_its_syn(lab: Lab, programs: ArrivalPrograms) -> None:
    web = lab.server.listen(8080)
    deafen(lab)
    clients = begin(lab, web.port, 4)
    until(lambda: total(read(programs, lab), "repeats") >= 4)
    part = read(programs, lab)
    # The first SYN of each is none that repeats.
    assert total(part, "syns") - total(part, "repeats") == 4
    assert of(part, lab.client.v4, "repeats") == total(part, "repeats")
    for s in clients:
        s.close()


def test_a_client_that_is_gone_resets_and_one_that_waits_finishes_late(lab: Lab, programs: ArrivalPrograms) -> None:
    web = lab.server.listen(8080)
    deafen(lab)
    gone, waits = begin(lab, web.port, 2)
    gone.close()
    assert lab.server.exec(["ip", "neigh", "del", lab.client.v4, "dev", lab.server.device]).returncode == 0
    # The SYN-ACK goes again after a second.
    until(lambda: total(read(programs, lab), "resets") == 1 and total(read(programs, lab), "finished") == 1)
    part = read(programs, lab)
    assert (of(part, lab.client.v4, "resets"), of(part, lab.client.v4, "late")) == (1, 1)
    waits.close()


def test_another_namespace_is_not_counted(lab: Lab) -> None:
    try:
        programs = ArrivalPrograms(1)
    except HalfopenError as e:
        pytest.skip(e.message)
    with programs:
        lab.client.connect(lab.server.listen(8080), 3).close()
        assert len(read(programs, lab).keys) == 0
        assert len(read(programs, lab).sources) == 0


def test_without_the_cgroup_tree_finished_handshakes_are_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen() -> int:
        raise Unsupported("cgroup2", "out of sight")

    monkeypatch.setattr(cgroup2, "root", unseen)
    try:
        programs = ArrivalPrograms(lab.server.inode)
    except HalfopenError as e:
        pytest.skip(e.message)
    with programs:
        lab.client.connect(lab.server.listen(8080), 3).close()
        until(lambda: total(read(programs, lab), "finished") == 3)
        part = read(programs, lab)
        assert (part.packets, part.why, total(part, "syns")) == (False, "out of sight", 0)


def looked(lab: Lab, **options: Any) -> Looks:
    [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)], **options)
    return seen


def test_two_looks_count_what_arrives_between_them(lab: Lab, programs: ArrivalPrograms) -> None:
    web = lab.server.listen(8080, backlog=512)
    lab.client.half_open(web, 20)
    lab.settle(20)

    def pause(seconds: float) -> None:
        clients = lab.client.connect(web, 5)
        time.sleep(seconds)
        clients.close()

    seen = looked(lab, pause=pause)
    arrived = seen.now.arrived
    assert isinstance(arrived, Arrived)
    assert (arrived.all.syns, arrived.all.finished) == (5, 5)
    places = {view.port: i for i, view in enumerate(seen.now.views)}
    assert arrived.by_view[places[8080]].finished == 5
    assert seen.now.completers is not None
    assert seen.now.completers.finished_now(np.array([number(lab.client.v4)], dtype=np.uint64)).all()


def test_nothing_is_counted_where_there_is_nothing_to_judge_or_ebpf_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080, backlog=512)
    assert looked(lab).now.arrived is None
    lab.client.half_open(web, 20)
    lab.settle(20)
    assert looked(lab, instant=True).now.arrived is None
    assert looked(lab, way="diag").now.arrived is None
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "arrivals")
    seen = looked(lab)
    assert (seen.now.arrived, seen.before is not None) == (None, True)


def test_the_kernel_remembers_who_finished(lab: Lab) -> None:
    web = lab.server.listen(8080)
    assert len(lab.server.run(peers.read).rows) == 0
    lab.client.connect(web, 3).close()
    until(lambda: len(lab.server.run(peers.read).rows) == 1)
    part = lab.server.run(peers.read)
    [row] = part.rows
    assert (int(row["number"]), bool(row["is_v4"])) == (number(lab.client.v4), True)
    assert row["age_s"] < 30
    assert 0 < row["rtt_s"] < 1
    assert part.whole
