"""What processes are doing, from the text of /proc and of cgroups, and of real processes of this test."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from halfopen.core.sample.workers import OpenFiles, Quota
from halfopen.linux import proc
from halfopen.read import cgroups, workers
from peers import until

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             96365                96365                processes
Max open files            1024                 524288               files
"""


@pytest.mark.parametrize(
    ("text", "limit"),
    [(LIMITS, 1024), (LIMITS.replace("1024 ", "unlimited "), None), ("", None)],
    ids=["a number", "none", "hidden"],
)
def test_the_limit_of_open_files(text: str, limit: int | None) -> None:
    assert proc.open_files_limit(text) == limit


def test_open_files_of_the_whole_system_and_who_may_pass_their_limit() -> None:
    assert workers.files_of_system("1984\t0\t9223372036854775807\n") == OpenFiles(1984, 2**63 - 1)
    assert workers.files_of_system("") is None
    status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t{}\n"
    assert workers.may_pass(status.format("000001ffffffffff"))
    assert not workers.may_pass(status.format("0000000000000400"))
    assert not workers.may_pass("")
    # Of this system, and of this process.
    found = workers.read([os.getpid()])
    assert found.files is not None
    assert 0 < found.files.count < found.files.limit


def test_where_a_thread_waits() -> None:
    assert workers.waits_in("0") == ""
    assert workers.waits_in("") == ""
    assert workers.waits_in("poll_schedule_timeout.constprop.0") == "poll_schedule_timeout"


def test_a_quota_that_was_never_in_force_is_none() -> None:
    text = "usage_usec 9\nnr_periods 105\nnr_throttled 54\nthrottled_usec 4000\n"
    assert cgroups.quota("/x", text) == Quota("/x", 105, 54)
    assert cgroups.quota("/x", text.replace("105", "0")) is None
    assert cgroups.quota("/x", "") is None


def test_quotas_of_the_cgroups_above_count_as_well(tmp_path: Path) -> None:
    below = tmp_path / "pod" / "web"
    below.mkdir(parents=True)
    (below / "cpu.stat").write_text("nr_periods 0\nnr_throttled 0\n")
    (tmp_path / "pod" / "cpu.stat").write_text("nr_periods 7\nnr_throttled 3\n")
    assert cgroups.quotas(str(below)) == (Quota(str(tmp_path / "pod"), 7, 3),)
    assert cgroups.quotas(None) == ()


def test_pressure(tmp_path: Path) -> None:
    (tmp_path / "io.pressure").write_text(
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
    )
    assert cgroups.stalled_s(str(tmp_path), "io") == 2.5
    assert cgroups.stalled_s(str(tmp_path), "cpu") is None


def test_a_process_that_is_gone_is_left_out_and_time_ends_the_look() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert workers.read([gone.pid]).by_pid == {}
    found = workers.read([os.getpid(), os.getppid()], budget_s=-1.0)
    assert (found.by_pid, found.left_out) == ({}, 2)


def test_what_this_process_does() -> None:
    me = workers.worker(os.getpid(), time.monotonic() + 5)
    assert me is not None
    assert me.parent == os.getppid()
    assert me.state in "RS"
    assert me.whole
    assert me.descriptor_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # The look itself opens one.
    assert abs((me.descriptors or 0) - len(os.listdir("/proc/self/fd"))) <= 2
    assert abs(me.ran_s - time.process_time()) < 1.0


def test_a_child_that_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            os.kill(child.pid, signal.SIGSTOP)

            def stopped() -> bool:
                one = workers.read([child.pid]).by_pid[child.pid]
                return (one.state, one.parent) == ("T", os.getpid())

            until(stopped, 10)
        finally:
            child.kill()


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_the_cgroup_that_was_frozen_is_found_from_one_below_it(tmp_path: Path, kind: str) -> None:
    below = tmp_path / "pod" / "web"
    below.mkdir(parents=True)
    asked, file = ("freezer.self_freezing", "freezer.state") if kind == "v1" else ("cgroup.freeze", "cgroup.freeze")
    (below / asked).write_text("0\n")

    def thaws() -> str:
        places = (str(below), None) if kind == "v2" else (None, str(below))
        return cgroups.thaws(*places)

    assert thaws() == ""
    (tmp_path / "pod" / asked).write_text("1\n")
    assert thaws() == str(tmp_path / "pod" / file)


# Where a machine has them; none has all.
FREEZERS = {
    "/sys/fs/cgroup/freezer": ("freezer.state", "FROZEN", "THAWED"),
    "/sys/fs/cgroup/unified": ("cgroup.freeze", "1", "0"),
    "/sys/fs/cgroup": ("cgroup.freeze", "1", "0"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes cgroups")
@pytest.mark.parametrize("root", [root for root in FREEZERS if (Path(root) / "cgroup.procs").exists()])
def test_a_real_process_in_a_frozen_cgroup(root: str) -> None:
    where = Path(root) / f"halfopen-test-{os.getpid()}"
    file, on, off = FREEZERS[root]
    try:
        where.mkdir()
    except OSError as e:
        pytest.skip(f"no cgroup can be made at {root}: {e}")
    process = subprocess.Popen(["sleep", "60"])
    try:
        (where / "cgroup.procs").write_text(str(process.pid))

        def frozen() -> str:
            found = workers.read([process.pid]).by_pid[process.pid]
            return found.frozen

        assert frozen() == ""
        (where / file).write_text(on)
        until(lambda: frozen() == str(where / file))
        (where / file).write_text(off)
        until(lambda: frozen() == "")
    finally:
        (where / file).write_text(off)
        process.kill()
        process.wait()
        until(lambda: not (where / "cgroup.procs").read_text())
        where.rmdir()


def test_the_process_that_traces_another() -> None:
    assert workers.tracer("Name:\tx\nTracerPid:\t4711\n") == 4711
    assert workers.tracer("Name:\tx\nTracerPid:\t0\n") == 0
    assert workers.tracer("") == 0


@pytest.mark.parametrize(("goes_on", "why"), [(True, ""), (False, "t")])
def test_a_process_under_strace_is_not_stopped_for_good(
    monkeypatch: pytest.MonkeyPatch, *, goes_on: bool, why: str
) -> None:
    """strace stops it at each of its system calls; a debugger keeps it where it is."""
    switches = itertools.count()

    def text(_: str) -> str:
        return f"nonvoluntary_ctxt_switches:\t{next(switches) if goes_on else 7}\n"

    monkeypatch.setattr(workers.proc, "stat_fields", lambda _: ["t"])
    monkeypatch.setattr(workers.small_files, "text", text)
    assert workers.stopped(4711) == why
