"""What /proc says about processes, and small files that may be anything."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
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


def test_open_files_are_counted_until_there_are_too_many() -> None:
    with ExitStack() as held:
        for _ in range(100):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        told = os.stat(f"/proc/{os.getpid()}/fd").st_size > 0  # since Linux 6.2
        assert proc.has_open_files(100) is told
        assert not proc.has_open_files(2**40)


def test_without_proc_no_files_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", refused)
    assert not proc.has_open_files(0)


@pytest.mark.parametrize(
    ("mapped", "told"), [("         0          0 4294967295\n", False), ("0 1000 1\n", True), ("", None)]
)
def test_a_user_namespace_is_told_by_its_map(monkeypatch: pytest.MonkeyPatch, mapped: str, told: bool | None) -> None:
    monkeypatch.setattr(proc, "text", lambda path: mapped.strip())
    assert proc.in_user_namespace() is told
