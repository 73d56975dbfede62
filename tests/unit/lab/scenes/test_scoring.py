"""The score of a verdict: right and silent, untrue, accused and harmful, each by what was measured in the scene."""

from __future__ import annotations

from typing import Any

import pytest

from halfopen.lab.scenes.scoring import CAUSES, Score, contradicted, means, score
from halfopen.lab.scenes.truth import Served, Silent, Stream, Truth

HONEST = Stream("server", 80, {"192.0.2.0/24": 90}, True, 100, 90, 0, 0.1, 2.0, 0)
FLOOD = Silent("prefix", (80,), ("198.18.0.0/15",), 5000)


def reason(id: str, text: str = "", level: str = "warning", command: str | None = None) -> dict[str, Any]:
    return {"id": id, "level": level, "text": text, "command": command}


def scored(truth: Truth, *reasons: dict[str, Any], next: tuple[str, ...] = (), wanted: Any = None) -> Score:
    verdict = {"level": "warning", "reasons": list(reasons), "next": list(next)}
    return score(truth, [truth.causes] if wanted is None else wanted, verdict)


def healthy() -> Truth:
    return Truth("busy", 1, (), (), 5.0, streams=(HONEST,), served=(Served("0.0.0.0", 80, (7,), (90,), 128, (0,)),))


def flooded() -> Truth:
    return Truth("flood", 1, ("spoofed-flood",), (), 5.0, streams=(HONEST,), silent=(FLOOD,), half_open=900)


def test_nothing_said_of_a_healthy_scene_is_right() -> None:
    assert scored(healthy()).right
    assert scored(healthy(), reason("handshakes-finish", level="notice")).right
    assert not scored(healthy(), reason("handshakes-finish")).right
    assert not scored(healthy(), reason("backlog-small", level="notice")).right


def test_nothing_said_of_trouble_is_silence() -> None:
    said = scored(flooded())
    assert (said.right, said.silent, said.first) == (False, True, "-")
    said = scored(flooded(), reason("cannot-tell"))
    assert (said.right, said.silent, said.cannot, said.untrue) == (False, False, True, [])


def test_the_first_that_explains_anything_counts() -> None:
    assert scored(flooded(), reason("not-shown"), reason("spoofed-flood")).right
    assert not scored(flooded(), reason("slow-path"), reason("spoofed-flood")).right
    assert scored(flooded(), reason("slow-path"), reason("spoofed-flood")).untrue == ["slow-path"]


def test_of_two_scenes_each_is_among_the_first_two() -> None:
    both = [("spoofed-flood",), ("app-not-accepting",)]
    said = [reason("app-not-accepting"), reason("spoofed-flood")]
    assert scored(flooded(), *said, wanted=both).right
    assert not scored(flooded(), reason("cookies-off"), *said, wanted=both).right


@pytest.mark.parametrize("id", ["spoofed-flood", "few-sources-flood", "prefix-flood", "scan"])
def test_where_nobody_is_hostile_every_flood_is_an_accusation(id: str) -> None:
    assert scored(healthy(), reason(id)).accused == [id]


def test_a_source_that_completes_is_accused_where_it_is_named() -> None:
    assert not scored(flooded(), reason("prefix-flood", "all of them from 198.18.0.0/15")).accused
    assert scored(flooded(), reason("prefix-flood", "all of them from 192.0.2.0/24")).accused == ["prefix-flood"]


@pytest.mark.parametrize(
    ("command", "harmful"),
    [
        ("halfopen release --all", True),
        ("halfopen release --older-than 1s", True),
        ("halfopen release --older-than 3s", False),
        ("halfopen release --older-than 3s --source 192.0.2.0/24", True),
        ("halfopen release --all --source 198.18.0.0/16", False),
        ("halfopen release --all --dry-run", False),
        ("halfopen tune apply --cookies on", False),
    ],
)
def test_a_release_is_harmful_where_it_meets_clients_that_complete(command: str, harmful: bool) -> None:
    for said in (
        scored(flooded(), reason("spoofed-flood"), next=(command,)),
        scored(flooded(), reason("spoofed-flood", command=command)),
    ):
        assert said.harmful == ([command] if harmful else [])


def test_every_release_is_harmful_where_nobody_is_missing() -> None:
    assert scored(healthy(), next=("halfopen release --older-than 60s",)).harmful


def test_settings_are_held_against_what_was_counted() -> None:
    off = {"tcp_syncookies": "0"}
    quiet = Truth("x", 1, (), (), 1.0, settings=off)
    dropping = Truth("x", 1, (), (), 1.0, settings=off, counters={"ListenDrops": 3})
    assert scored(quiet, reason("cookies-off")).untrue == ["cookies-off"]
    assert not scored(dropping, reason("cookies-off")).untrue


def test_an_id_names_its_own_cause_or_none() -> None:
    assert all(means(id) == {id} for id in CAUSES)
    assert means("handshakes-finish") == means("few-sources") == frozenset()


def test_handshakes_finish_where_some_did() -> None:
    assert not scored(healthy(), reason("handshakes-finish", level="ok")).untrue
    nobody = Truth("x", 1, ("spoofed-flood",), (), 1.0)
    assert scored(nobody, reason("handshakes-finish", level="ok")).untrue == ["handshakes-finish"]


def test_a_release_of_a_listener_harms_its_own_clients_alone() -> None:
    assert scored(flooded(), next=("halfopen release --listener :80 --older-than 1s",)).harmful
    assert not scored(flooded(), next=("halfopen release --listener [2001:db8::1]:81 --older-than 1s",)).harmful


def test_a_guard_harms_nobody_and_a_block_its_own_prefix() -> None:
    assert not scored(flooded(), next=("halfopen protect :80 --for 10m",)).harmful
    [client] = next(iter(flooded().streams)).prefixes
    assert scored(flooded(), next=(f"halfopen block {client} --for 1h",)).harmful
    assert not scored(flooded(), next=("halfopen block 203.0.113.7 --for 1h",)).harmful


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("ListenDrops", 10, False),
        ("ListenDrops", 14, False),
        ("ListenDrops", 9, True),
        ("ListenDrops", 15, True),
        ("ListenDrops_per_s", 11.0, False),
        ("ListenDrops_per_s", 12.0, True),
        ("completions_per_s", 40.0, False),
        ("completions_per_s", 60.0, True),
        ("finished", 20, False),
        ("finished", 21, True),
        ("drops", 14, False),
        ("drops", 15, True),
        ("dropped_syns", -1, True),
        ("somaxconn", 10**9, False),  # no counter
        ("process", "nginx", False),
    ],
)
def test_a_number_that_the_kernel_contradicts(name: str, value: Any, wrong: bool) -> None:
    before, after = {"ListenDrops": 10, "PassiveOpens": 100}, {"ListenDrops": 14, "PassiveOpens": 120}
    said = {"reasons": [{"id": "x", "facts": [{"name": name, "value": value}]}]}
    assert bool(contradicted(before, after, said)) is wrong
