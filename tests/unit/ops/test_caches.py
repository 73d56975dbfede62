"""Dropping the page cache: on a file that stands for the kernel's, as the real one is the whole machine's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from halfopen.change import caches as change
from halfopen.core.errors import NotPermitted
from halfopen.core.policy.caches import DropCaches, MachineMemory
from halfopen.linux import proc
from halfopen.ops import caches
from halfopen.ops.executor import Executor
from halfopen.present.caches import costs, document, lines


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's file, on the host; syncing is noted in it."""
    path = tmp_path / "drop_caches"
    path.write_bytes(b"")
    monkeypatch.setattr(proc, "on_the_host", lambda: True)
    monkeypatch.setattr(os, "sync", lambda: path.write_bytes(b"synced"))
    return path


@pytest.mark.parametrize(("inodes", "written"), [(False, b"5\nnced"), (True, b"7\nnced")])
def test_it_syncs_first_and_measures_before_and_after(file: Path, inodes: bool, written: bytes) -> None:
    outcome = caches.execute(DropCaches("why", inodes), path=str(file))
    assert file.read_bytes() == written
    assert outcome.after is not None
    assert outcome.before.cached > 0
    assert any("before" in line and "after" in line for line in lines(outcome))


def test_a_dry_run_changes_nothing_and_says_what_it_would_cost(file: Path) -> None:
    outcome = caches.execute(DropCaches("why"), dry_run=True, path=str(file))
    assert file.read_bytes() == b""
    said = " ".join(lines(outcome))
    assert "whole machine" in said
    assert "No socket is freed" in said
    assert document(outcome)["free_more_bytes"] is None


def test_what_is_mapped_and_shared_stays() -> None:
    before = MachineMemory.of({"MemFree": 1, "Cached": 100, "Buffers": 5, "Shmem": 30, "Mapped": 20, "Dirty": 2})
    assert before.droppable == 55
    assert "inodes" in " ".join(costs(before, inodes=True))


def test_a_container_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "on_the_host", lambda: False)
    with pytest.raises(NotPermitted, match="container"):
        change.may_drop(str(tmp_path / "none"))


def test_it_is_recorded_before_and_after(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "may_drop", lambda path: None)
    monkeypatch.setattr(change, "drop", lambda inodes, path: None)
    log = tmp_path / "audit.jsonl"
    Executor(str(log)).drop_caches(DropCaches("a cold start"))
    begin, done = map(json.loads, log.read_text().splitlines())
    assert (begin["action"], begin["phase"], begin["reason"]) == ("memory drop-caches", "begin", "a cold start")
    assert done["phase"] == "done"
    assert done["page_cache_before_bytes"] > 0
