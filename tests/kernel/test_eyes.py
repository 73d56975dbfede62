"""Pulse and census: what eBPF reads is what sock_diag reads, exactly; refused, the product goes on and says so."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import halfopen
from halfopen.core.errors import Unsupported
from halfopen.core.model.model import build
from halfopen.core.sample import Sample
from halfopen.linux import netns
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import reader, sockdiag
from halfopen.read.bpf import programs
from halfopen.read.bpf.pulse import Pulse
from peers import until
from run import SRC, document
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was loaded or refused before is forgotten."""
    programs.close()
    yield
    programs.close()


def pulse_in(lab: Lab, expected: int = 0) -> Any:
    return lab.server.run(lambda: programs.pulse().read(expected))


def test_both_queues_of_each_listener(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=500)
    stuck = lab.server.listen(8081, backlog=7, mode="never")
    own = lab.server.listen(8082, address="::", retries=3, defer_accept_s=5)
    lab.client.half_open(web, 60).settled()
    lab.client.half_open(own, 9, family=6)
    lab.settle(69)
    lab.client.connect(stuck, 5)
    found = {int(r["port"]): r for r in pulse_in(lab, 3)}
    assert set(found) == {8080, 8081, 8082}
    assert [(r["qlen"], r["young"]) for r in (found[8080], found[8081])] == [(60, 60), (0, 0)]
    assert (found[8082]["qlen"], found[8082]["syn_retries"], found[8082]["family"]) == (9, 3, 10)
    assert found[8082]["defer_accept"] > 0
    # Without the second look, after which the SYN-ACKs may have been sent again.
    status = document("status", "--instant", "--netns", lab.server.netns_path, "--json")
    shown = {x["port"]: x for x in status["namespaces"][0]["listeners"]}
    assert (shown[8080]["syn_queue"], shown[8080]["syn_queue_young"], shown[8080]["accept_queue"]) == (60, 60, 0)
    assert (shown[8081]["syn_queue"], shown[8081]["accept_queue"]) == (0, 5)
    assert shown[8082]["synack_retries_overridden"] is True
    until(lambda: int({int(r["port"]): r for r in pulse_in(lab, 3)}[8080]["young"]) == 0, timeout=20)


def test_only_listeners_of_which_something_changed_are_read_again(lab: Lab) -> None:
    """Many, so that their records fill more than one read()."""
    for i in range(800):
        lab.server.listen(10_000 + i)
    web = lab.server.listen(8080, backlog=64)
    stuck = lab.server.listen(8081, backlog=1, mode="never")
    ns = netns.resolve(lab.server.netns_path)

    def again(before: Sample | None) -> Sample:
        return reader.read(ns, with_owners=False, before=before)

    def at_rest(before: Sample) -> Sample:
        for _ in range(3):  # the first one finds the change, the second that there is none any more
            before, last = again(before), before
            if before.listeners is last.listeners:
                assert before.queues is last.queues
                assert before.counters
                return before
        raise AssertionError("nothing changes, and yet all was read again")

    def changed(by: Callable[[], object]) -> None:
        nonlocal now
        by()
        until(lambda: again(now).listeners is not now.listeners)
        found = again(None)
        assert found.queues is not None
        assert now.queues is not None
        assert found.listeners.tobytes() != now.listeners.tobytes() or found.queues.tobytes() != now.queues.tobytes()
        now = at_rest(found)

    now = at_rest(again(None))
    changed(lambda: lab.client.half_open(web, 1))
    changed(lambda: lab.client.connect(stuck, 1))
    changed(lambda: lab.client.connect(stuck, 4))  # overflows: the drops of the listener
    changed(lambda: lab.server.listen(8082))
    changed(web.close)


@pytest.mark.parametrize("expected", [0, 1, 2, 5, 6, 40], ids=lambda n: f"{n} expected")
def test_however_many_were_expected_none_is_made_up(lab: Lab, expected: int) -> None:
    for i in range(5):
        lab.server.listen(9000 + i)
    ports = [int(r["port"]) for r in pulse_in(lab, expected)]
    assert len(ports) == len(set(ports)) == (5 if expected in (0, 5, 6, 40) else expected)
    assert set(ports) <= {9000 + i for i in range(5)}


def test_more_listeners_than_one_read_holds(lab: Lab) -> None:
    for i in range(700):
        lab.server.listen(10_000 + i)
    for expected in (0, 700):
        assert sorted(r["port"] for r in pulse_in(lab, expected)) == [10_000 + i for i in range(700)]


def test_a_namespace_without_connections_does_not_walk_those_of_others(lab: Lab) -> None:
    """The walk ends at the last listener: no slower beside 200,000 connections of another namespace."""
    from halfopen.lab import Lab as Another

    with Another() as other:
        crowd = other.server.listen(8080, backlog=800_000)
        other.client.half_open(crowd, 200_000)
        other.settle(200_000, timeout=60)
        for i in range(5):
            lab.server.listen(9000 + i)

        def took(expected: int) -> float:
            began = time.perf_counter()
            assert len(programs.pulse().read(expected)) == 5
            return time.perf_counter() - began

        known = min(lab.server.run(lambda: took(5)) for _ in range(5))
        unknown = min(lab.server.run(lambda: took(0)) for _ in range(5))
        assert known < unknown / 5


def by_peer(sample: halfopen.core.sample.Sample) -> dict[tuple[Any, ...], tuple[Any, ...]]:  # type: ignore[name-defined]
    model = build(sample)
    names = ("family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low", "ifindex")
    keys = zip(*(sample.requests[name].tolist() for name in names), strict=True)
    values = zip(
        sample.requests["retransmits"].tolist(), model.is_deferred.tolist(), model.ages_s.tolist(), strict=True
    )
    return dict(zip(keys, values, strict=True))


def test_census_and_sock_diag_see_the_same(lab: Lab) -> None:
    plain, dual = lab.server.listen(8080, backlog=5000), lab.server.listen(8081, address="::", backlog=5000)
    lab.client.half_open(plain, 2000).settled()
    lab.client.half_open(dual, 1000, family=6)
    lab.client.half_open(dual, 700, family=4)
    lab.settle(3700)
    path = lab.server.netns_path
    exact, timed = (halfopen.sample(path, source=source) for source in ("bpf", "diag"))
    assert (exact.completeness.source, timed.completeness.source) == ("bpf", "diag")
    ours, theirs = by_peer(exact), by_peer(timed)
    assert ours.keys() == theirs.keys()
    apart = timed.monotonic_s - exact.monotonic_s
    for key, (retransmits, deferred, age) in ours.items():
        assert theirs[key][1] == deferred
        assert retransmits <= theirs[key][0] <= retransmits + 1
        # A timer fires up to a jiffy or an eighth of its time late, on a busy machine more.
        assert abs(theirs[key][2] - age - apart) < 0.3
    # What is left of the timer: in order of age it is the same, but for the time between the looks and a jiffy.
    left = [np.sort(s.requests["expires_ms"].astype(float)) for s in (exact, timed)]
    assert np.abs(left[0] - left[1]).max() <= apart * 1000 + 50
    views = [build(s).listeners for s in (exact, timed)]
    assert [(v.port, v.half_open) for v in views[0]] == [(v.port, v.half_open) for v in views[1]]
    assert build(exact).distinct_sources == build(timed).distinct_sources


def test_the_kernel_says_which_are_deferred(lab: Lab) -> None:
    """From the first moment, where timers leave it open for a second."""
    web = lab.server.listen(8080, defer_accept_s=10)
    good = lab.client.connect(web, 8)
    lab.client.half_open(web, 5)
    lab.settle(13)
    model = halfopen.snapshot(lab.server.netns_path, source="bpf")
    assert (model.half_open, model.deferred) == (5, 8)
    guessed = halfopen.snapshot(lab.server.netns_path, source="diag")
    assert (guessed.half_open, guessed.deferred) == (0, 13)
    good.close()


def test_columns_alone_tell_the_same_as_rows(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 50, sources="few").settled()
    for source in ("bpf", "diag"):
        whole, lean = (halfopen.snapshot(lab.server.netns_path, rows=rows, source=source) for rows in (True, False))
        assert len(whole.sample.requests) == 50
        assert len(lean.sample.requests) == 0
        assert whole.half_open == lean.half_open == 50
        assert whole.distinct_sources == lean.distinct_sources
        assert [(s.prefix, s.half_open) for s in whole.sources] == [(s.prefix, s.half_open) for s in lean.sources]


@pytest.mark.slow
@pytest.mark.xdist_group("many")
def test_a_census_of_many_takes_little_memory(lab: Lab) -> None:
    """At most 64 bytes a connection, so 64 MB a million: measured with 300,000 against a reading of none."""
    web = lab.server.listen(8080, backlog=1_200_000)
    lab.client.half_open(web, 300_000)
    lab.settle(300_000, timeout=60)
    code = (
        "import sys, halfopen\n"
        "def peak():\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "halfopen.snapshot(rows=False, source='bpf')\n"
        "before = peak()\n"
        "assert halfopen.snapshot(sys.argv[1], rows=False, source='bpf').half_open == 300_000\n"
        "print(peak() - before)\n"
    )
    path = f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert int(done.stdout) * 1024 <= 300_000 * 64


@pytest.mark.parametrize("refused", ["pulse", "walk", "census", "walk,census", "door", "all"])
def test_each_program_refused_the_product_answers_and_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 23).settled()
    path = lab.server.netns_path
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    [there] = document("status", "--netns", path, "--json")["namespaces"]
    assert there["half_open"] == 23
    kept = there["completeness"]
    assert kept["whole"] is True
    blind = refused in ("walk,census", "all")
    assert kept["source"] == ("diag" if blind else "bpf")
    said = " ".join(kept["notes"])
    assert ("SYN queues are counted" in said) == (refused in ("pulse", "all"))
    assert ("ages are estimated from timers" in said) == blind
    [listener] = there["listeners"]
    assert listener["syn_queue"] == (None if refused in ("pulse", "all") else 23)
    assert document("list", "--netns", path, "--json")["total"] == 23
    watched = command("watch", "--netns", path, "--count", "2", "--interval", "0.1s", "--json")
    assert watched.returncode == 0
    assert watched.stdout.count('"half_open":23') >= 2
    did = document("release", "--netns", path, "--all", "--yes", "--json")
    # Without eBPF the door is held by nf_tables.
    assert (did["released"], did["left"], did["namespaces"][0]["held"]) == (23, 0, True)


@pytest.mark.parametrize("what", ["pulse", "walk,census"])
def test_insisting_on_a_refused_source_is_one_line(lab: Lab, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", what)
    done = command("status", "--netns", lab.server.netns_path, "--read-by", "bpf")
    assert done.returncode == (0 if what == "pulse" else 3)
    assert len(done.stderr.splitlines()) == (0 if what == "pulse" else 1)


def test_a_watch_reads_depths_and_looks_closer_where_there_is_something(lab: Lab, fresh: None) -> None:
    from halfopen.core.policy.policy import Policy
    from halfopen.core.reports import Reading
    from halfopen.ops.executor import Executor
    from halfopen.ops.watch.loop import Watch

    web = lab.server.listen(8080)
    ns = netns.resolve(lab.server.netns_path)
    watch = Watch(Policy(), Executor(dry_run=True), interval_s=0.05, ns=ns, count=6)
    seen = []
    for report in watch.run():
        if not isinstance(report, Reading):
            continue
        seen.append((report.model.half_open, report.model.sample.depths))
        if len(seen) == 3:
            lab.client.half_open(web, 20).settled()
            watch._turns.known[ns.inode].whole_again_at_s = 0.0
        if len(seen) == 4:
            watch._turns.known[ns.inode].whole_again_at_s = time.monotonic() + 60
    assert seen == [(0, False), (0, True), (0, True), (20, False), (20, True), (20, True)]


def test_another_layout_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.read.bpf import pulse

    other = np.dtype([(n, pulse.PULSE[n].str) for n in (pulse.PULSE.names or ())[::-1]])
    monkeypatch.setattr(pulse, "PULSE", other)
    with pytest.raises(Unsupported, match="writes a pulse_record of another layout"):
        Pulse()


@pytest.mark.parametrize(("missing", "why"), [("btf", "does not describe its types"), ("libbpf", "no libbpf")])
def test_without_btf_or_libbpf_it_says_which(monkeypatch: pytest.MonkeyPatch, missing: str, why: str) -> None:
    from halfopen.linux.bpf import bpf_object, libbpf

    if missing == "btf":
        monkeypatch.setattr(bpf_object, "BTF", "/nonexistent")
    else:
        monkeypatch.setattr(libbpf, "_SONAME", "libbpf.so.nonexistent")
        libbpf.library.cache_clear()
    try:
        with pytest.raises(Unsupported, match=why):
            Pulse()
    finally:
        if missing == "libbpf":
            monkeypatch.undo()
            libbpf.library.cache_clear()


def test_a_walk_of_listeners_costs_no_error_where_there_is_none(lab: Lab) -> None:
    assert len(pulse_in(lab)) == 0
    with lab.server.run(open_sock_diag) as s:
        assert len(sockdiag.listeners(s)[0]) == 0
    assert halfopen.snapshot(lab.server.netns_path, source="bpf").half_open == 0
