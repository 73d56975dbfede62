"""Tests that become another user run wherever the checkout lies: also in root's home, closed to everybody else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import capabilities
import readable

pytestmark = pytest.mark.root


def test_a_closed_checkout_is_copied_where_nobody_can_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in /root: the directory above is closed.
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    shutil.copytree(readable.SRC, closed / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(readable, "SRC", closed / "src")
    readable._place.cache_clear()
    try:
        assert not readable.path().startswith(str(closed))
        done = capabilities.halfopen("--version")
        assert (done.returncode, done.stderr) == (0, "")
        code = "import halfopen, os; print(halfopen.__file__, os.getuid())"
        where, uid = capabilities.python(code).stdout.split()
    finally:
        readable._place.cache_clear()
    assert uid == "65534"
    assert not Path(where).is_relative_to(closed)


def test_nobody_has_no_capability_that_was_not_named() -> None:
    code = "print([line for line in open('/proc/self/status') if line.startswith('CapEff')])"
    done: subprocess.CompletedProcess[str] = capabilities.python(code)
    assert "0000000000000000" in done.stdout, done.stderr
