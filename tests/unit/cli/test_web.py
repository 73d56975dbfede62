"""`halfopen web`: the link as it is printed, and nothing else on standard output."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from halfopen.cli import service_asking, web

ANSWER = {"listen": "127.0.0.1:9765", "hosts": [], "link": "LINK==", "lasts_s": 120.0, "session_s": 43200.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        requests.append(request)
        return {**ANSWER, "session": "TOKEN"} if request.get("session") else ANSWER

    monkeypatch.setattr(service_asking, "ask", ask)
    return requests


def run(*words: str) -> tuple[str, str]:
    done = CliRunner().invoke(web.command, words)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_the_link_stands_alone(asked: list[dict[str, Any]]) -> None:
    out, err = run()
    assert out == "http://127.0.0.1:9765/#link=LINK==\n"
    assert "within 2 min" in err
    assert "ssh -N -L 9765:127.0.0.1:9765" in err
    assert asked == [{"command": "web", "session": False}]


def test_a_program_gets_a_session(asked: list[dict[str, Any]]) -> None:
    assert run("--token") == ("TOKEN\n", "")


@pytest.mark.parametrize(
    ("listen", "hosts", "place"),
    [
        ("/run/halfopen/web.sock", [], "localhost:9765"),
        ("[::1]:80", [], "[::1]:80"),
        ("0.0.0.0:80", ["panel.example.org"], "panel.example.org:80"),
        ("192.0.2.1:80", [], "192.0.2.1:80"),
    ],
)
def test_where_a_browser_finds_it(listen: str, hosts: list[str], place: str) -> None:
    assert web._place(listen, hosts) == place


def test_a_unix_socket_is_reached_through_ssh() -> None:
    assert web._tunnel("/run/halfopen/web.sock").startswith("ssh -N -L 9765:/run/halfopen/web.sock ")
    assert web._tunnel("0.0.0.0:80").startswith("ssh -N -L 80:127.0.0.1:80 ")
