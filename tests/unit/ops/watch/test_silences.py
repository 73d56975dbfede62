"""Silences: of one incident or of a listener, recorded before they are in force, and kept over a restart."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from halfopen.core.errors import HalfopenError, UnknownTarget, UsageError
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident, Incidents
from halfopen.core.policy.silence import MOST, Silence, Unsilence, held
from halfopen.ops.executor import Executor
from halfopen.ops.watch.silences import Silences
from halfopen.service import silencing
from halfopen.service.requests import AskAcknowledge, AskSilence
from rows import SELF

WEB: Subject = (2, "0.0.0.0", 443, 0)
OWN: Subject = (2, "192.0.2.1", 443, 0)
ONE = Incident("20261126T004501Z-3f9c1a", SELF, WEB, 1e9)
OTHER = Incident("20261126T004501Z-aaaaaa", SELF, OWN, 1e9)


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_what_is_asked_for_is_recorded_in_force_and_there_after_a_restart(tmp_path: Path) -> None:
    log, path = tmp_path / "audit.jsonl", str(tmp_path / "state" / "silences.json")
    silences = Silences(Executor(str(log)), path)
    one = silencing.wanted(AskAcknowledge(incident="3f9c1a", reason="known"), (ONE, OTHER), "alice", time.time())
    work = silencing.wanted(AskSilence(listener="443", for_s=3600), (), "bob", time.time())
    silences.begin(one)
    silences.begin(work)
    again = Silences(Executor(str(log)), path)
    assert again.now() == silences.now() == (one, work)
    again.begin(silencing.wanted(AskSilence(listener=":443", for_s=7200), (), "bob", time.time()))
    assert [(s.name, s.until_s is None) for s in again.now()] == [(ONE.id, True), (":443", False)]
    assert again.end(Unsilence("3f9c1a", "bob")).name == ONE.id
    assert [s.name for s in again.now()] == [":443"]
    assert [(r["action"], r["of"], r["asked_by"]) for r in records(log)] == [
        ("silence", ONE.id, "alice"),
        ("silence", ":443", "bob"),
        ("silence", ":443", "bob"),
        ("unsilence", ONE.id, "bob"),
    ]
    with pytest.raises(UnknownTarget):
        again.end(Unsilence("3f9c1a", "bob"))


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    silences = Silences(Executor(str(tmp_path)))
    with pytest.raises(HalfopenError, match="audit log"):
        silences.begin(Silence(":443", time.time(), "bob", until_s=time.time() + 60, listener=(None, 443)))
    assert silences.now() == ()


def test_there_is_a_bound_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "silences.json"
    path.write_text("[{")
    silences = Silences(Executor("/dev/null"), str(path))
    assert silences.now() == ()
    for i in range(MOST):
        silences.begin(Silence(f":{i}", time.time(), "bob", listener=(None, i)))
    with pytest.raises(HalfopenError, match="already"):
        silences.begin(Silence("more", time.time(), "bob"))


def test_an_acknowledgement_ends_with_its_incident_and_a_silence_with_its_time(tmp_path: Path) -> None:
    silences = Silences(Executor("/dev/null"))
    silences.begin(Silence(ONE.id, time.time(), "bob"))
    silences.begin(Silence(":443", time.time(), "bob", until_s=time.time() - 1, listener=(None, 443)))
    assert [one.name for one in silences.now()] == [ONE.id]
    silences.over(frozenset({OTHER.id}))
    assert len(silences.now()) == 1
    silences.over(frozenset({ONE.id}))
    assert silences.now() == ()


def test_an_acknowledgement_of_an_incident_whose_end_nobody_sees_ends_at_the_next_start(tmp_path: Path) -> None:
    """A watch that was killed, and is not followed by another within ten minutes, or keeps no history."""
    path = str(tmp_path / "state" / "silences.json")
    silences = Silences(Executor("/dev/null"), path)
    for name, listener in ((ONE.id, None), (OTHER.id, None), (":443", (None, 443))):
        silences.begin(Silence(name, time.time(), "bob", listener=listener))
    silences.taken_up({OTHER.id})
    assert [one.name for one in Silences(Executor("/dev/null"), path).now()] == [OTHER.id, ":443"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (AskAcknowledge(incident="20261126"), UnknownTarget),
        (AskAcknowledge(incident="ffffff"), UnknownTarget),
        (AskSilence(listener="web", for_s=1), UsageError),
    ],
)
def test_what_cannot_be_meant(request_: AskAcknowledge | AskSilence, error: type[HalfopenError]) -> None:
    with pytest.raises(error):
        silencing.wanted(request_, (ONE, OTHER), "bob", 0.0)


def test_whose_incidents_a_listener_s_silence_holds_back() -> None:
    anywhere = Silence(":443", 0.0, "bob", listener=(None, 443))
    there = Silence("192.0.2.1:443", 0.0, "bob", listener=("192.0.2.1", 443))
    assert [anywhere.means(one.id, one.listener) for one in (ONE, OTHER)] == [True, True]
    assert [there.means(one.id, one.listener) for one in (ONE, OTHER)] == [False, True]
    assert not anywhere.means("i-1", None)


def test_an_incident_keeps_under_which_silences_it_was() -> None:
    one = Silence(":443", 10.0, "bob", until_s=100.0, listener=(None, 443))
    assert held((), (one,), 20.0) == (one,)
    [lifted] = held((one,), (), 30.0)
    assert lifted.until_s == 30.0
    assert held((lifted,), (), 40.0) == (lifted,)
    assert held((one,), (), 200.0) == (one,)
    incidents = Incidents()
    incidents.silences = (one,)
    [taken] = incidents.take_up([ONE], 50.0, 20.0)
    assert taken.silenced(20.0) == one
    assert taken.silenced(100.0) is None
