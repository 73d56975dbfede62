"""A leak of connections as `top` and the page show it, from the verdict of a watch."""

from __future__ import annotations

from msgspec.structs import replace

from connections import aged, evidence, sockets
from halfopen.core.findings.judging import judged
from halfopen.core.live import LiveNamespace
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.state import ScreenState
from halfopen.present.web.state import state
from live import calm, live, shown


def leaking() -> LiveNamespace:
    return replace(calm("self"), verdict=judged(evidence(sockets(*aged([i / 5 for i in range(200)])))))


def test_top_names_the_program_that_leaks() -> None:
    text = " ".join(shown(draw(live(leaking()), ScreenState(), 140, 40)).split())
    assert "java 4711 (app.service) leaks connections: 200 connections to 10.0.0.5:5432 in CLOSE_WAIT" in text


def test_the_page_names_it_with_its_command() -> None:
    [space] = state(live(leaking()))["spaces"]
    assert space["level"] == "warning"
    [cause] = [one for one in space["causes"] if "leaks connections" in one["text"]]
    assert cause["evidence"]
    assert cause["commands"][0] == "halfopen closing list --process 4711 --state close-wait --peer 10.0.0.5:5432"
