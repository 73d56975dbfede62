"""The telling of incidents by a real face: without capabilities, and whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bad_http import BadServer
from halfopen.core.notice import encode
from halfopen.core.sections.notify import NotifySettings
from halfopen.linux import privileges
from halfopen.service import face_keeper, parts
from halfopen.service.face_keeper import FaceKeeper
from halfopen.service.notify_part import NotifyPart, settings_of
from notices import notice, receiver

PATIENCE_S = 20


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def keepers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FaceKeeper]]:
    # Its own user: the spool is in a directory of the test's.
    monkeypatch.setattr(face_keeper, "face_user", lambda: None)
    made: list[FaceKeeper] = []
    yield made
    for keeper in made:
        keeper.close()


def begun(keepers: list[FaceKeeper], receivers: list[NotifySettings], spool: str) -> FaceKeeper:
    keeper = FaceKeeper()
    keepers.append(keeper)
    keeper.begin({parts.NOTIFY: settings_of(receivers, spool)})
    return keeper


def told(server: BadServer) -> list[tuple[str, str]]:
    bodies = [json.loads(post.body) for post in server.posts]
    return [(body["type"].rpartition(".")[2], body["data"]["incident"]) for body in bodies]


def test_settings_come_through_as_they_were() -> None:
    one = receiver(url="https://x.example/", causes=("syn-flood",), levels=("critical",), repeat_s=60.0)
    part = NotifyPart(json.loads(json.dumps(settings_of([one], ""))))
    part.close()
    assert part._delivery._outlets[0].settings == one


def test_a_face_tells_and_its_successor_goes_on(keepers: list[FaceKeeper], tmp_path: Path) -> None:
    with BadServer() as server:
        keeper = begun(keepers, [receiver(url=f"{server.url}/ok")], str(tmp_path / "n.db"))
        keeper.send(parts.NOTIFY, encode(notice()))
        until(lambda: told(server) == [("firing", "i-1")])
        pid = keeper.health.pid
        assert privileges.capabilities(pid)["CapEff"] == 0
        server.script = ["hang"]
        keeper.send(parts.NOTIFY, encode(notice(incident="i-2")))
        until(lambda: len(server.posts) == 2)
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(server.posts) == 3)
        keeper.send(parts.NOTIFY, encode(notice("resolved", at_s=1_000_000_100.0)))
        until(lambda: len(server.posts) == 4)
        # The first is not told again, the second is told again with its id, the end of the first comes.
        assert told(server)[1:] == [("firing", "i-2"), ("firing", "i-2"), ("resolved", "i-1")]
        assert server.posts[1].headers["webhook-id"] == server.posts[2].headers["webhook-id"]


def test_trouble_comes_back_and_garbage_ends_nothing(keepers: list[FaceKeeper], tmp_path: Path) -> None:
    with BadServer() as server:
        keeper = begun(keepers, [receiver(url=f"{server.url}/500/T0KEN")], str(tmp_path / "n.db"))
        keeper.send(parts.NOTIFY, b"no notice")
        keeper.send(parts.NOTIFY, encode(notice()))
        lines: list[str] = []

        def both() -> bool:
            lines.extend(keeper.told())
            return len(lines) >= 2

        until(both)
        assert lines[0].startswith("notify: not a notice")
        assert lines[1] == f"notify: webhook: {server.url}/***: answered 500 Internal Server Error: why!"
        assert keeper.health.restarts == 0
        [standing] = keeper.health.receivers
        assert (standing.name, standing.waiting, standing.trouble in lines[1]) == ("webhook", 1, True)
        assert standing.failed >= 1


def test_other_receivers_are_told_by_another_face(keepers: list[FaceKeeper], tmp_path: Path) -> None:
    spool = str(tmp_path / "n.db")
    with BadServer() as server:
        old, new = receiver(url=f"{server.url}/ok"), receiver(name="new", url=f"{server.url}/ok/new")
        keeper = begun(keepers, [old], spool)
        keeper.send(parts.NOTIFY, encode(notice()))
        until(lambda: told(server) == [("firing", "i-1")])
        pid = keeper.health.pid
        keeper.renew({parts.NOTIFY: settings_of([old, new], spool)})
        until(lambda: keeper.health.pid not in (0, pid))
        keeper.send(parts.NOTIFY, encode(notice("updated")))
        until(lambda: len(server.posts) == 2)
        assert server.posts[1].path == "/ok/new"
        assert told(server)[1] == ("firing", "i-1")
        assert (keeper.health.restarts, keeper.told()) == (0, [])


def test_news_at_the_end_is_told(keepers: list[FaceKeeper], tmp_path: Path) -> None:
    with BadServer() as server:
        keeper = begun(keepers, [receiver(url=f"{server.url}/ok", wait_s=60.0)], str(tmp_path / "n.db"))
        keeper.send(parts.NOTIFY, encode(notice()))
        keeper.close()
        assert told(server) == [("firing", "i-1")]
