"""The list is written while little of it is held, and says the same whatever way it was read and cut."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from halfopen import api
from halfopen.core.errors import KernelError
from halfopen.core.filters import Filter
from halfopen.core.model.listing import SORTS, Listing
from halfopen.read import timeouts
from halfopen.read.bpf import programs
from halfopen.read.bpf.census import Census, Counted
from peers import until
from run import begin, document, environment, halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

FEW, MANY = 20_000, 200_000
# Runs the command line, and says on standard error by how many KB its memory grew at most once the census is read. Not
# from the start: loading eBPF programs takes about 10 MB for a moment, more or less at the same time as the imports.
GROWTH = """
import sys, threading
from halfopen.cli.main import run
from halfopen.read.bpf.census import Census

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

read = Census.read

def measured(self, **options):
    global before
    for thread in threading.enumerate():
        if thread.name.startswith("halfopen-load"):
            thread.join()
    open("/proc/self/clear_refs", "w").write("5")
    before = kilobytes("VmRSS")
    return read(self, **options)

Census.read = measured
run(sys.argv[1:])
sys.stdout.flush()
print(kilobytes("VmHWM") - before, file=sys.stderr)
"""


def growth_bytes(lab: Lab, *words: str) -> tuple[int, int]:
    """How much more memory `list` with these words held at most while reading and writing, and how many lines it
    wrote.
    """
    command = [sys.executable, "-c", GROWTH, "list", "--netns", named(lab), *words]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        lines = sum(1 for _ in running.stdout)
        said = running.stderr.read()
    assert running.returncode == 0, said
    return int(said) * 1024, lines


def named(lab: Lab) -> str:
    return f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.xdist_group("many")
def test_a_list_of_many_takes_little_memory(lab: Lab) -> None:
    """With a limit next to nothing a connection; without one 34 bytes and what the allocator rounds up (it was 70)."""
    # They stay while this takes longer on a busy machine.
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 10)
    web = lab.server.listen(8080, backlog=4 * MANY)
    ways = (
        (("--limit", "1", "--sort", "source"), 8, None),
        (("--format", "csv"), 40, 1),
        (("--format", "ndjson", "--sort", "source"), 40, 0),
    )
    grew: dict[int, list[int]] = {}
    for count in (FEW, MANY):
        lab.client.half_open(web, count - lab.server.half_open())
        lab.settle(count, timeout=60)
        for words, _, headings in ways:
            growth, lines = growth_bytes(lab, *words)
            assert lines == (3 if headings is None else count + headings)
            grew.setdefault(count, []).append(growth)
    for (words, most, _), few, many in zip(ways, grew[FEW], grew[MANY], strict=True):
        assert many - few <= (MANY - FEW) * most, (words, few, many, (many - few) / (MANY - FEW))


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_at_once_and_quietly(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=100_000)
    lab.client.half_open(web, 20_000)  # several megabytes, of which a pipe holds 64 KiB
    lab.settle(20_000, timeout=60)
    for form in ("ndjson", "csv", "json", "table"):
        words = ["list", "--netns", named(lab), "--format", form, "--limit", "0"]
        with begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            assert [running.stdout.readline() for _ in range(3)][2]
            running.stdout.close()
            enough_s = time.monotonic()
            said = running.stderr.read()
        assert (running.returncode, said) == (0, b"")
        assert time.monotonic() - enough_s < 30


@pytest.fixture
def mixed(lab: Lab) -> Lab:
    """IPv4, IPv6 and v4-mapped ones, of several listeners, and deferred ones."""
    lab.client.half_open(lab.server.listen(8080), 40)
    both = lab.server.listen(8081, address="::")
    lab.client.half_open(both, 30, family=6)
    lab.client.half_open(both, 20, family=4)
    lab.client.connect(lab.server.listen(8082, defer_accept_s=30), 7)
    lab.settle(97)
    return lab


def rows(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What no second look can change of each row."""
    steady = ("family", "local_address", "local_port", "remote_address", "remote_port", "deferred")
    return [tuple(row[name] for name in steady) for row in found["connections"]]


@pytest.mark.root
def test_however_it_is_sorted_and_cut(mixed: Lab) -> None:
    """By eBPF rows are dropped while others are still read; sock_diag keeps them all until the end."""

    def listed(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = document("list", "--netns", mixed.server.netns_path, "--json", *words)
        return found

    # All requests of a listener that defers count as deferred by sock_diag, and these all are.
    by_diag = {by: listed("--read-by", "diag", "--sort", by) for by in SORTS}
    for by in SORTS:
        whole = listed("--read-by", "bpf", "--sort", by)
        assert (whole["total"], whole["deferred"]) == (97, 7)
        assert sorted(rows(whole)) == sorted(rows(by_diag[by]))
        if by in ("source", "listener"):
            assert rows(whole) == rows(by_diag[by])
            cut = listed("--read-by", "bpf", "--sort", by, "--limit", "45")
            assert (cut["total"], cut["deferred"]) == (97, 7)
            assert rows(cut) == rows(whole)[:45]
    assert listed("--read-by", "bpf", "--no-deferred", "--limit", "1")["total"] == 90
    assert listed("--read-by", "bpf", "--listener", ":8081", "--limit", "1")["total"] == 50


@pytest.mark.root
def test_a_census_that_breaks_off_leaves_nothing_behind(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.client.half_open(lab.server.listen(8080), 23).settled()
    read = Census.read

    def broken(self: Census, **options: Any) -> Iterator[Counted]:
        yield next(iter(read(self, **options)))
        raise KernelError("reading the eBPF program walk", 5)

    monkeypatch.setattr(Census, "read", broken)
    try:
        [found], skipped = api.listed(Listing(Filter()), lab.server.netns_path)
    finally:
        programs.close()
    assert (found.collected.total, len(found.collected), skipped) == (23, 23, [])


def test_ages_without_ebpf_are_said_to_be_bounds(lab: Lab) -> None:
    """Of a client that asks again, timers tell too little or too much, by which counter there is."""
    sent = lab.client.half_open(lab.server.listen(8080), 3)
    assert sent.settled() == 3

    until(lambda: api.listed(Listing(), lab.server.netns_path, source="diag")[0][0].ages_are == "lower", timeout=15)

    def said(way: str) -> str:
        return halfopen("list", "--netns", lab.server.netns_path, "--read-by", way).stdout

    for way in ("diag", "proc"):
        assert "without eBPF, AGE is a lower bound for clients that retransmitted their SYN" in said(way)
    with pytest.MonkeyPatch.context() as patch:
        # More requests than /proc/net/tcp is asked for.
        patch.setattr(timeouts, "MAX_REQUESTS", 0)
        [one], _ = api.listed(Listing(), lab.server.netns_path, source="diag")
        assert one.ages_are == "upper"
