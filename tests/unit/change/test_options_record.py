"""Records of changed connections: those that can still be undone are kept, no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from halfopen.change import options_record
from halfopen.core.errors import UnknownTarget
from halfopen.core.policy.connection_actions import ChangedConnections, RestoreOptions
from halfopen.core.where import Namespace
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, current
from halfopen.ops.closing import retrofitting
from halfopen.wire.bpf_records import ACTED


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_those_of_earlier_boots_are_removed(directory: Path) -> None:
    options_record.begin("00000001", Namespace("earlier", 1, 7))
    options_record.begin("00000002", Namespace("now", 1, 7))
    (directory / "connections-00000003").write_bytes(b"damaged\n")
    (directory / "connections-notes").write_bytes(b"somebody's\n")
    options_record.begin("00000004", Namespace("now", 1, 7))
    names = {path.name.removeprefix("connections-") for path in directory.iterdir()}
    assert names == {"00000002", "00000003", "00000004", "notes"}
    with pytest.raises(UnknownTarget, match="no record"):
        options_record.load("00000001")


@pytest.mark.parametrize("failed", [0, 2])
def test_an_undo_that_was_refused_in_part_can_be_tried_again(failed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ns: Netns = current()
    options_record.begin("00000001", identify(ns))
    options_record.add("00000001", np.zeros(3, dtype=ACTED))
    monkeypatch.setattr(retrofitting, "may_change", lambda: None)
    outcome = ChangedConnections("undo", ns.name, "record 00000001", matched=3, done=3 - failed, failed=failed)
    monkeypatch.setattr(retrofitting, "_set_back", lambda *_: outcome)
    told = retrofitting.restore(RestoreOptions("00000001"), ns)
    if failed:
        assert told.notes == ("the record 00000001 is kept: the undo can be tried again",)
        assert len(options_record.load("00000001").rows) == 3
    else:
        assert told.notes == ()
        with pytest.raises(UnknownTarget):
            options_record.load("00000001")
