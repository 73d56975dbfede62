"""A release of many takes little memory for each, and ends in order in a cgroup of 64 MB."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

FEW, MANY = 20_000, 120_000
# A hash of 8 bytes, a bit vector for the door, and what the allocator rounds up.
MOST_BYTES = 40
# Runs the command line, and says on standard error by how many KB its memory grew at most from its first census on:
# loading eBPF programs takes about 10 MB for a moment, more or less at the same time as the imports.
GROWTH = """
import sys, threading
from halfopen.cli.main import run
from halfopen.read.bpf.census import Census

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

read, before = Census.read, None

def measured(self, **options):
    global before
    if before is None:
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


def growth_bytes(lab: Lab, count: int) -> int:
    """How much more memory a release of so many connections held at most than before it."""
    web = lab.server.listen(8080 + count % 7, backlog=2 * count)
    lab.client.half_open(web, count)
    lab.settle(count, timeout=60)
    path = f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, "release", "--netns", path, "--all", "--yes"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"{count:,} half-open connections released" in done.stdout
    assert "with the door held" in done.stdout
    web.close()
    return int(done.stderr.splitlines()[-1]) * 1024


@pytest.mark.root
@pytest.mark.xdist_group("many")
def test_a_release_of_many_takes_little_memory(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 10)
    few, many = growth_bytes(lab, FEW), growth_bytes(lab, MANY)
    assert many - few <= (MANY - FEW) * MOST_BYTES, (few, many, (many - few) / (MANY - FEW))


@contextmanager
def limited(megabytes: int) -> Iterator[Path]:
    """A cgroup whose processes may take so much memory; skips where there is no memory controller to be had."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root, f"halfopen-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(megabytes << 20))
                yield group
                return
        finally:
            for _ in range(50):  # its last process is still being taken out of it
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.02)
    pytest.skip("no cgroup with a memory controller can be made")


@pytest.mark.root
@pytest.mark.xdist_group("many")
def test_a_release_of_many_in_a_cgroup_of_64_mb(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 10)
    lab.client.half_open(lab.server.listen(8080, backlog=2 * MANY), MANY)
    lab.settle(MANY, timeout=60)
    path = f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    release = [sys.executable, "-m", "halfopen", "release", "--netns", path, "--all", "--yes"]
    with limited(64) as group:
        done = subprocess.run(
            ["sh", "-c", enter, group, *release], env=environment(), capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    assert f"{MANY:,} half-open connections released" in done.stdout
    assert "with the door held" in done.stdout
