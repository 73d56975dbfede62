"""The census by a walk of its own: the same as the kernel's, whatever comes and goes, and in nobody's way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import halfopen
from halfopen.core.errors import Unsupported
from halfopen.core.sample import REQUEST
from halfopen.read.bpf.census import Census, IterCensus, NamingCensus
from halfopen.read.bpf.walk import WalkCensus
from halfopen.wire.bpf_records import CENSUS_SHORT
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def census_in(lab: Lab, census: Census) -> Any:
    """All rows of a census with their ages and whether they are deferred, in an order of their own."""

    def read() -> Any:
        parts = [(p.rows.copy(), p.ages_s.copy(), p.is_deferred.copy()) for p in census.read()]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    rows, ages, is_deferred = lab.server.run(read)
    order = np.lexsort([rows[n] for n in ("remote_port", "remote_low", "remote_high", "local_port")])
    return rows[order], ages[order], is_deferred[order]


def test_both_ways_of_a_census_write_the_same(lab: Lab) -> None:
    # A queue that is half full has its connections dropped sooner: on a busy machine between the two readings.
    plain, dual = lab.server.listen(8080, backlog=400_000), lab.server.listen(8081, address="::", backlog=20_000)
    waits = lab.server.listen(8082, defer_accept_s=30)
    lab.client.half_open(plain, 40_000)
    lab.client.half_open(dual, 1000, family=6)
    lab.client.half_open(dual, 700, family=4)
    lab.client.connect(waits, 9)
    lab.settle(41_709, timeout=60)
    with WalkCensus() as walk, IterCensus() as iterator:
        (a, ages_a, is_deferred_a), (b, ages_b, is_deferred_b) = census_in(lab, walk), census_in(lab, iterator)
    for name in ("family", "local_port", "remote_port", "local_address", "remote_address", "ifindex"):
        assert (a[name] == b[name]).all()
    assert is_deferred_a.tolist() == is_deferred_b.tolist()
    assert is_deferred_a.sum() == 9
    # The same sockets, read one after the other.
    apart = ages_b - ages_a
    assert apart.min() >= 0
    assert apart.max() - apart.min() < 0.001


# Woken every 100 us on the CPU it is told, as urgent as can be.
_URGENT = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("ready", flush=True)
while True:
    time.sleep(0.0001)
"""


def test_the_walk_breaks_off_when_somebody_wants_its_cpu(lab: Lab) -> None:
    """Nothing else is scheduled there during a run; a run alone ends after so many chains or sockets."""
    web = lab.server.listen(8080, backlog=50_000)
    lab.client.half_open(web, 20_000)
    lab.settle(20_000, timeout=60)
    cpu = max(os.sched_getaffinity(0))
    runs: list[int] = []

    def censuses() -> list[int]:
        """How many runs each of 50 takes, the fewest first, in a thread that is pinned."""
        os.sched_setaffinity(0, {cpu})
        counts = []
        with WalkCensus() as walk:
            loaded, run = walk._loaded, walk._loaded.run
            bucket = loaded.variable("bucket", "<u4")

            def counted(program: str, argument: int = 0) -> None:
                before = int(bucket[0])
                run(program, argument)
                if program == "walk":
                    runs.append(int(bucket[0]) - before)

            loaded.run = counted  # type: ignore[method-assign]
            for _ in range(50):
                begun = len(runs)
                assert walk.drain() == 20_000 * CENSUS_SHORT.itemsize
                counts.append(len(runs) - begun)
        return sorted(counts)

    alone = lab.server.run(censuses)
    with subprocess.Popen([sys.executable, "-c", _URGENT, str(cpu)], stdout=subprocess.PIPE) as urgent:
        try:
            assert urgent.stdout is not None
            assert urgent.stdout.readline() == b"ready\n"
            disturbed = lab.server.run(censuses)
        finally:
            urgent.kill()
    assert max(runs) <= 16 * 1024
    assert disturbed[25] > 1.2 * alone[0], (alone, disturbed)


@contextlib.contextmanager
def with_chains(chains: int) -> Iterator[Lab]:
    """A lab whose namespaces have hashes of their own with so many chains (tcp_child_ehash_entries, Linux 6.1)."""
    from halfopen.lab import Lab as Another

    path = Path("/proc/sys/net/ipv4/tcp_child_ehash_entries")
    # Read by whoever makes the next namespace, which then has one.
    before = path.read_text()
    path.write_text(f"{chains}\n")
    with contextlib.ExitStack() as stack:
        try:
            other = stack.enter_context(Another())
        finally:
            path.write_text(before)
        assert int(other.server.sysctl("net.ipv4.tcp_ehash_entries")) == chains
        yield other


@pytest.mark.parametrize("chains", [1, 8, 16, 256])
def test_a_namespace_with_a_hash_of_its_own(lab: Lab, chains: int) -> None:
    """Fewer chains than the walk takes at a time, and more."""
    crowd = lab.server.listen(8080)
    lab.client.half_open(crowd, 100).settled()
    with with_chains(chains) as other:
        web = other.server.listen(8080, backlog=1000)
        other.client.half_open(web, 700)
        other.settle(700)
        with WalkCensus() as walk:
            rows, _, _ = census_in(other, walk)
            assert not walk.interrupted
            assert len(rows) == 700
            rows, _, _ = census_in(lab, walk)
            assert len(rows) == 100
        done = halfopen.release(all=True, netns=other.server.netns_path)
        assert (done.released, done.left, done.problems) == (700, 0, ())


@pytest.mark.slow
def test_a_hash_of_one_chain_is_read_whole_however_long_it_is(lab: Lab) -> None:
    """The walk takes a chain in one piece; where it is too long for that, the kernel's iterator reads."""
    with with_chains(1) as other:
        web = other.server.listen(8080, backlog=20_000)
        # Each SYN is looked for in the whole chain, so more take their time.
        other.client.half_open(web, 9000)
        other.settle(9000, timeout=60)
        path = other.server.netns_path
        model = halfopen.snapshot(path)
        assert (model.half_open, model.sample.completeness.whole) == (9000, True)
        assert model.sample.completeness.source == "bpf"
        done = halfopen.release(all=True, netns=path)
        assert (done.released, done.left, done.held, done.problems) == (9000, 0, True, ())


def test_chosen_chains_alone(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=20_000)
    lab.client.half_open(web, 5000)
    lab.settle(5000, timeout=60)

    def look() -> tuple[set[int], int, int, set[int]]:
        with WalkCensus() as walk:
            every = np.concatenate([part.chains.copy() for part in walk.read()])
            some = np.unique(every)[:700]
            met = np.concatenate([part.chains.copy() for part in walk.read(named=True, chains=some)])
            there = int(np.isin(every, some).sum())
            return set(some.tolist()), there, len(met), set(met.tolist())

    some, there, met, chains = lab.server.run(look)
    assert (met, chains) == (there, some)


def test_named_ones_have_the_cookies_that_sock_diag_gives(lab: Lab) -> None:
    plain, dual = lab.server.listen(8080, backlog=2000), lab.server.listen(8081, address="::", backlog=2000)
    lab.client.half_open(plain, 500)
    lab.client.half_open(dual, 300, family=6)
    lab.client.half_open(dual, 200, family=4)
    lab.settle(1000)

    def named(census: Census) -> Any:
        def read() -> Any:
            return np.concatenate([part.rows.copy() for part in census.read(named=True)], dtype=REQUEST)

        return lab.server.run(read)

    with WalkCensus() as walk, IterCensus() as iterator:
        wanted = np.sort(lab.server.requests()["cookie"])
        for census in (walk, iterator):
            rows = named(census)
            assert np.sort(rows["cookie"]).tolist() == wanted.tolist()
            assert sorted(rows["local_port"].tolist()) == [8080] * 500 + [8081] * 500


def test_each_has_a_cookie_behind_a_census_that_gives_them(lab: Lab) -> None:
    lab.client.half_open(lab.server.listen(8080, backlog=2000), 500)
    lab.client.half_open(lab.server.listen(8081, address="::", backlog=2000), 500, family=6)

    def cookies(census: Census) -> list[int]:
        found: list[int] = []
        for part in census.read(named=True):
            found += part.rows["cookie"].tolist()
        return sorted(found)

    with WalkCensus() as walk, naming() as gives:
        # To settle would be to ask sock_diag, which gives cookies too.
        until(lambda: lab.server.run(lambda: cookies(walk)) == [0] * 1000)
        rows, _, _ = census_in(lab, gives)
        assert len(rows) == 1000
        given = lab.server.run(lambda: cookies(walk))
    assert given[0] > 0
    assert given == np.sort(lab.server.requests()["cookie"]).tolist()


def naming() -> Census:
    try:
        return NamingCensus()
    except Unsupported as e:  # before Linux 6.17
        pytest.skip(e.message)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [WalkCensus, IterCensus, naming])
def test_while_others_come_and_go_each_that_stays_is_seen_once(lab: Lab, kind: Callable[[], Census]) -> None:
    """The walk takes no lock: 20,000 that stay are seen exactly once each, whatever is made and freed around them."""
    stays, comes = (lab.server.listen(port, backlog=500_000) for port in (8080, 8081))
    lab.client.half_open(stays, 20_000)
    lab.settle(20_000, timeout=60)
    over = threading.Event()
    released, looks = 0, 0
    met: set[int] = set()

    def release() -> None:
        nonlocal released
        while not over.is_set():
            released += halfopen.release(listener=":8081", netns=lab.server.netns_path).released

    def flood() -> None:
        while not over.is_set():
            lab.client.half_open(comes, 20_000)

    threads = [threading.Thread(target=work) for work in (release, flood)]
    for thread in threads:
        thread.start()
    try:
        with kind() as census:
            began = time.monotonic()
            # Longer on a busy machine.
            while time.monotonic() - began < (3 if looks >= 5 and len(met) > 1 else 60):
                rows, _, _ = census_in(lab, census)
                looks += 1
                assert not census.interrupted
                others = rows["local_port"] == 8081
                met.add(int(others.sum()))
                own = rows[~others]
                assert len(own) == 20_000
                assert len(np.unique(own[["remote_low", "remote_port"]])) == 20_000
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert looks >= 5
    assert len(met) > 1
    assert released > 10_000
