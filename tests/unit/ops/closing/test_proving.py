"""Proof of life on readings that were made up: which ACK is the answer to a probe, however long a reading takes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from halfopen.change.closers import Closers
from halfopen.core.policy.connection_actions import PROBE_PEERS, ChangedConnections
from halfopen.core.sample.closing import ADDRESSES, SOCKET, OpenSockets
from halfopen.core.where import Namespace
from halfopen.ops.closing import proving
from halfopen.wire.bpf_records import ACTED

ACKED_AT, PROBED_AT = 90.0, 100.0


@pytest.fixture(autouse=True)
def _records_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path))


class Programs:
    """Closers that set nothing."""

    failures, way = 0, "bpf"
    slowly = False

    def retrofit(self, cookies: Any, options: Any, states: int, *, slowly: bool = False) -> Any:
        # The first call tells what the options are, probes leave at the second, and the third sets the options back.
        self.slowly = slowly or self.slowly
        records = np.zeros(len(cookies), dtype=ACTED)
        records["cookie"] = cookies
        return records


def read_at(began_s: float, took_s: float, heard_at: list[float]) -> OpenSockets:
    """A reading whose rows were all filled at its very end."""
    rows = np.zeros(len(heard_at), dtype=SOCKET)
    rows["cookie"] = np.arange(len(heard_at)) + 7
    rows["heard_ms"] = [round((began_s + took_s - one) * 1000) for one in heard_at]
    return OpenSockets(rows, np.zeros(0, dtype=ADDRESSES), "walk", began_s, took_s)


def probed(monkeypatch: pytest.MonkeyPatch, took_s: float, heard_at: list[float]) -> ChangedConnections:
    before = read_at(PROBED_AT - 0.2, 0.01, [ACKED_AT, PROBED_AT - 1.2, PROBED_AT - 0.25, ACKED_AT])
    after = read_at(PROBED_AT + 1, took_s, heard_at)
    clock = iter([PROBED_AT, PROBED_AT + 0.1, PROBED_AT + 9])
    monkeypatch.setattr(proving.closing, "read", lambda *_, **__: after)
    monkeypatch.setattr(proving, "time", type("", (), {"monotonic": staticmethod(lambda: next(clock))}))
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: False)
    outcome = ChangedConnections(PROBE_PEERS, "host", "", matched=4)
    programs = Programs()
    where = Namespace("now", 1, 7)
    done = proving.probe(cast("Closers", programs), where, before, 2, outcome, lambda one: one, threading.Event())
    assert programs.slowly, "thousands of probes in one jiffy are more than loopback takes"
    return done


@pytest.mark.parametrize("took_s", [0.0, 0.03, 0.2, 0.45])
def test_an_answer_within_a_reading_that_takes_long_is_one(monkeypatch: pytest.MonkeyPatch, took_s: float) -> None:
    at = PROBED_AT + 0.004
    done = probed(monkeypatch, took_s, [at, at, at + 0.8, ACKED_AT])
    assert (done.answered, done.silent, done.forgotten) == (3, 1, 0)


@pytest.mark.parametrize("took_s", [0.0, 0.03, 0.2, 0.45])
def test_an_ack_from_before_is_no_answer(monkeypatch: pytest.MonkeyPatch, took_s: float) -> None:
    done = probed(monkeypatch, took_s, [ACKED_AT, PROBED_AT - 1.2, PROBED_AT - 0.25])
    assert (done.answered, done.silent, done.forgotten) == (0, 3, 1)
