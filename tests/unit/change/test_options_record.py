"""Records of changed connections: those that can still be undone are kept, no others."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halfopen.change import options_record
from halfopen.core.errors import JournalError, UnknownTarget
from halfopen.core.policy.connection_actions import ChangedConnections, RestoreOptions
from halfopen.core.where import Namespace
from halfopen.linux import files
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, current
from halfopen.ops.closing import retrofitting
from halfopen.wire.bpf_records import ACTED


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def made(where: Namespace, rows: int = 0) -> str:
    with options_record.OpenRecord(where) as record:
        record.begin(np.zeros(rows, dtype=ACTED))
        record.keep()
    return record.id


def test_those_of_earlier_boots_are_removed(directory: Path) -> None:
    earlier = made(Namespace("earlier", 1, 7))
    now = made(Namespace("now", 1, 7))
    (directory / "connections-00000003").write_bytes(b"damaged\n")
    (directory / "connections-notes").write_bytes(b"somebody's\n")
    last = made(Namespace("now", 1, 7))
    names = {path.name.removeprefix("connections-") for path in directory.iterdir()}
    assert names == {now, "00000003", last, "notes"}
    with pytest.raises(UnknownTarget, match="no record"):
        options_record.load(earlier)


def test_a_change_that_was_broken_off_is_named_once_nobody_makes_it(directory: Path) -> None:
    where = Namespace("now", 1, 7)
    with options_record.OpenRecord(where) as record:
        record.begin(np.zeros(3, dtype=ACTED))
        assert options_record.left_open(where) == []
        with pytest.raises(JournalError, match="is still being made"):
            options_record.load(record.id)
    # Killed in the middle of a write: what is not whole was not changed.
    with (directory / f"connections-{record.id}.open").open("ab") as file:
        file.write(b"torn")
    made(where, 2)
    assert options_record.left_open(where) == [record.id]
    assert options_record.left_open(Namespace("now", 2, 7)) == []
    assert len(options_record.load(record.id).rows) == 3
    options_record.drop(record.id)
    assert options_record.left_open(where) == []


def test_a_change_that_did_not_begin_leaves_no_record(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with options_record.OpenRecord(Namespace("now", 1, 7)):
        pass
    for first in (0, 1):
        writes = iter([None] * first + [OSError(errno.ENOSPC, "no space left on device")])

        def full(*_: object, writes: Iterator[OSError | None] = writes, **__: object) -> None:
            if (error := next(writes)) is not None:
                raise error

        monkeypatch.setattr(files, "append", full)
        with (
            pytest.raises(JournalError, match="no space left"),
            options_record.OpenRecord(Namespace("now", 1, 7)) as record,
        ):
            record.begin(np.zeros(3, dtype=ACTED))
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("failed", [0, 2])
def test_an_undo_that_was_refused_in_part_can_be_tried_again(failed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ns: Netns = current()
    id = made(identify(ns), 3)
    monkeypatch.setattr(retrofitting, "may_change", lambda: None)
    outcome = ChangedConnections("undo", ns.name, f"record {id}", matched=3, done=3 - failed, failed=failed)
    monkeypatch.setattr(retrofitting, "_set_back", lambda *_: outcome)
    told = retrofitting.restore(RestoreOptions(id), ns)
    if failed:
        assert told.notes == (f"the record {id} is kept: the undo can be tried again",)
        assert len(options_record.load(id).rows) == 3
    else:
        assert told.notes == ()
        with pytest.raises(UnknownTarget):
            options_record.load(id)
