"""What /proc says about processes, and small files that may be anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from halfopen.linux import proc


def test_this_process_is_there_under_its_name() -> None:
    assert os.getpid() in proc.pids()
    assert proc.pids() == sorted(proc.pids())
    assert proc.name(os.getpid()) == Path("/proc/self/comm").read_text().removesuffix("\n")
    assert proc.stat_fields("self")[1] == str(os.getppid())


def test_a_name_with_brackets_and_blanks_does_not_move_the_fields() -> None:
    code = "import time; open('/proc/self/comm', 'w').write('a) S (b'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline()
            assert proc.name(child.pid) == "a) S (b"
            assert proc.stat_fields(child.pid)[1] == str(os.getpid())
        finally:
            child.kill()


def test_a_process_that_ended_is_none() -> None:
    assert proc.name(2**22 + 1) is None
    assert proc.stat_fields(2**22 + 1) == []


@pytest.mark.parametrize(("effective", "missing"), [("0", ["CAP_NET_ADMIN", "CAP_BPF"]), ("1000", ["CAP_BPF"])])
def test_capabilities(monkeypatch: pytest.MonkeyPatch, effective: str, missing: list[str]) -> None:
    monkeypatch.setattr(proc, "text", lambda path: f"Name:\tx\nCapEff:\t{effective.zfill(16)}\n")
    assert proc.lacking(("CAP_NET_ADMIN", "CAP_BPF")) == missing
