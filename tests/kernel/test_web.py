"""The service's page: a link opens it, and a flood in the lab is seen there, alive and in history."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from halfopen.service import client
from halfopen.service.face_keeper import face_user
from page import Browser
from peers import until
from run import command, environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

CONFIG = """
interval = "200ms"
[alarm]
minimum = 20
[history]
path = "{place}/history/"
[web]
listen = "{place}/page.sock"
"""


class Service:
    """A service of the lab's server, with a page at a Unix socket."""

    def __init__(self, lab: Lab, place: Path, config: str) -> None:
        (place / "halfopen.toml").write_text(config.format(place=place))
        self.control = str(place / "control.sock")
        env = environment(HALFOPEN_CONTROL=self.control, HALFOPEN_STATE_DIR=str(place / "state"))
        words = ["watch", "--as-service", "--config", str(place / "halfopen.toml"), "--netns", lab.server.netns_path]
        self.process = subprocess.Popen(
            [*command(*words), "--audit-log", str(place / "audit")], env=env, stdout=subprocess.DEVNULL, cwd="/"
        )
        self.browser = Browser(str(place / "page.sock"))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return client.ask(self.control, request) or {}

    def space(self) -> dict[str, Any]:
        """The namespace as the page has it now."""
        state = self.browser.json("/state")["state"]
        return dict(state["spaces"][0]) if state and state["spaces"] else {}

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)


@pytest.fixture
def service(lab: Lab, tmp_path: Path) -> Iterator[Service]:
    made = Service(lab, tmp_path, CONFIG)
    try:
        until(lambda: bool(made.ask({"command": "health"}).get("readings")))
        yield made
    finally:
        made.end()
    assert not os.path.exists(tmp_path / "page.sock")


def _history_is_shown(browser: Browser) -> None:
    until(lambda: bool(browser.json("/timeline?span=hour")["incidents"]))
    told = browser.json("/timeline?span=hour&lang=zh")
    assert max(v or 0 for v in told["values"]["half_open"]) == 90
    one = browser.json(f"/incident?id={told['incidents'][0]['id']}")
    assert any("90" in fact["text"] for fact in one["facts"])
    assert max(v or 0 for v in one["chart"]["values"]["half_open"]) == 90
    assert one["outcome"]
    assert browser.status("/incident?id=20010101T000000Z-ffffff") == 404


def test_a_flood_is_seen_on_the_page_and_an_incident_in_its_history(lab: Lab, service: Service) -> None:
    server = lab.server.listen(8080, backlog=128)
    link = service.ask({"command": "web"})
    assert link["ok"], link
    browser = service.browser
    assert browser.enter(link["link"]) == 200
    assert Browser(browser.where).enter(link["link"]) == 401
    # Somebody looks, so that each reading is shown.
    stream = browser.stream()
    states = iter(stream)
    assert next(states)["state"]
    lab.client.half_open(server, 90)

    def listed() -> dict[str, str]:
        state = next(states)["state"]
        table = state["spaces"][0]["listeners"] if state["spaces"] else {"columns": [], "rows": []}
        names = [column["name"] for column in table["columns"]]
        return next((dict(zip(names, row, strict=True)) for row in table["rows"] if ":8080" in row[0]), {})

    until(lambda: listed().get("half_open", "").startswith("90"))
    stream.close()
    if face_user() is None:
        _history_is_shown(browser)
    else:
        # The directory of a test is root's alone, as is a history where there is no group halfopen.
        with browser.get("/timeline?span=hour") as refused:
            assert (refused.status, b"Permission denied; run as root" in refused.read()) == (503, True)
    assert browser.status("/timeline?span=year") == 400
    # Another face takes the place of one that is killed: who connects meanwhile waits, and sessions go on.
    face = service.ask({"command": "health"})["face"]["pid"]
    early = service.ask({"command": "web"})["link"]
    os.kill(face, signal.SIGKILL)
    until(lambda: service.ask({"command": "health"})["face"]["pid"] not in (0, face))
    assert browser.status("/state") == 200
    until(lambda: bool(service.space()))
    assert browser.enter(early) == 401, "it may have been used"
