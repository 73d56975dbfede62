"""Delivery, with its threads and its spool: nobody waits for a receiver that hangs, kill -9 loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bad_http import BadServer
from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.notify import delivery as deliveries
from halfopen.notify import outlet as outlets
from halfopen.notify import pace as paces
from halfopen.notify import spool as spools
from halfopen.notify.delivery import Delivery
from halfopen.notify.receiver import Message
from halfopen.notify.spool import Spool
from notices import notice, receiver


class Friend:
    """A receiver that keeps what it gets, or does `instead`."""

    batch = 1

    def __init__(self, instead: Callable[[], None] = lambda: None) -> None:
        self.got: list[Message] = []
        self.instead = instead

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        self.instead()
        self.got += messages
        return "thanks"


class Running:
    """A delivery to friends by name, in a thread."""

    def __init__(self, path: str, **friends: Friend) -> None:
        self.said: list[str] = []
        settings = [receiver("command", name=name) for name in friends]
        self.delivery = Delivery(settings, path, self.said.append, lambda one: friends[one.name])
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.delivery.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "spool.db")


@pytest.fixture
def running(path: str) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def run(**friends: Friend) -> Running:
        made.append(Running(path, **friends))
        return made[-1]

    yield run
    for one in made:
        one.end()


def test_a_receiver_that_hangs_holds_up_no_other_and_not_the_end(
    running: Callable[..., Running], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_LAST_WORDS_S", 0.3)
    ever = threading.Event()
    hanging, friend = Friend(lambda: ever.wait(60) and None), Friend()
    one = running(hanging=hanging, friend=friend)
    for n in range(20):
        began = time.monotonic()
        one.delivery.take(notice(incident=f"i-{n}"))
        assert time.monotonic() - began < 10
    until(lambda: one.delivery.standing()[1].delivered == 20)
    standing = {s.name: s for s in one.delivery.standing()}
    assert (standing["friend"].delivered, standing["friend"].waiting) == (20, 0)
    assert (standing["hanging"].delivered, standing["hanging"].waiting) == (0, 20)
    began = time.monotonic()
    one.end()
    assert time.monotonic() - began < 30
    ever.set()
    left = Spool(path)
    assert {row.receiver for row in left.rows() if row.told is None} == {"hanging"}
    left.close()


def test_troubles_are_told_once_and_their_end_too(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces, "_FIRST_S", 0.05)
    troubles: list[Exception] = [Undelivered("answered 500"), Undelivered("answered 500"), ValueError("a defect")]

    def fail() -> None:
        if troubles:
            raise troubles.pop(0)

    friend = Friend(fail)
    one = running(chat=friend)
    one.delivery.take(notice())
    until(lambda: bool(friend.got) and len(one.said) == 3)
    assert one.said == [
        "notify: chat: answered 500",
        "notify: chat: failed because of a bug: ValueError",
        "notify: chat: takes messages again",
    ]
    assert one.delivery.standing()[0].failed == 3


def test_what_was_not_told_is_told_after_a_restart_and_nothing_twice(running: Callable[..., Running]) -> None:
    def down() -> None:
        raise Undelivered("nobody there")

    first, away = Friend(), Friend(down)
    one = running(chat=first, away=away)
    one.delivery.take(notice())
    one.delivery.take(notice("resolved", incident="i-2"))
    until(lambda: len(first.got) == 2 and one.delivery.standing()[1].failed > 0)
    one.end()
    again, back = Friend(), Friend()
    one = running(chat=again, away=back)
    until(lambda: len(back.got) == 2)
    assert sorted(m.notice.incident for m in back.got) == ["i-1", "i-2"]
    one.delivery.take(notice("resolved", at_s=1_000_000_060.0))
    until(lambda: len(again.got) == 1 and len(back.got) == 3)
    assert again.got[0].before is not None
    # A receiver that is not in the configuration any more leaves nothing behind.
    one.end()
    one = running(other=Friend())
    until(lambda: not one.delivery.standing()[0].waiting)
    one.end()


def test_incidents_that_make_room_are_told_of(running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_INCIDENTS", 5)
    monkeypatch.setattr(deliveries, "_LAST_WORDS_S", 0.3)
    ever = threading.Event()
    one = running(chat=Friend(lambda: ever.wait(60) and None))
    for n in range(8):
        one.delivery.take(notice(incident=f"i-{n}"))
    until(lambda: bool(one.said))
    assert one.said == ["notify: chat: 3 incidents were not sent: too many, or too old"]
    assert one.delivery.standing()[0].dropped == 3
    ever.set()


def test_news_at_the_very_end_goes_out(running: Callable[..., Running]) -> None:
    friend = Friend()
    one = running(chat=friend)
    one.delivery.take(notice())
    one.end()
    assert len(friend.got) == 1


def test_more_than_can_be_taken_in_is_dropped_and_told(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "_INBOX_MOST", 10)
    friend, said = Friend(), list[str]()
    delivery = Delivery([receiver("command", name="chat")], path, said.append, lambda _: friend)
    for n in range(25):
        delivery.take(notice(incident=f"i-{n}"))
        delivery.take(notice("updated", incident=f"i-{n}", cause="path-cut"))
    stop = threading.Event()
    stop.set()
    delivery.run(stop)
    assert [m.notice.incident for m in friend.got] == [f"i-{n}" for n in range(15, 25)]
    assert {m.notice.cause for m in friend.got} == {"path-cut"}
    assert said == ["notify: 15 notices came faster than they could be taken in, and were dropped"]


# --- the spool --------------------------------------------------------------------------------------------------------


def test_a_damaged_spool_is_put_aside_and_delivery_goes_on(running: Callable[..., Running], path: str) -> None:
    Path(path).write_bytes(os.urandom(20_000))
    os.chmod(path, 0o600)
    friend = Friend()
    one = running(chat=friend)
    one.delivery.take(notice())
    until(lambda: len(friend.got) == 1)
    assert one.said == [f"notify: {path} was damaged: it was renamed, and the notices in it are lost"]


def test_a_full_spool_ends_no_delivery_and_heals(
    path: str, running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_SPOOL_AGAIN_S", 0.2)
    monkeypatch.setattr(spools, "MOST_BYTES", 1)
    real = Spool.write
    full = [True]

    def write(self: Spool, put: object, remove: object, **more: bool) -> None:
        if full[0]:
            raise HalfopenError("spool", "spool.db: database or disk is full", hint="make room")
        real(self, put, remove, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "write", write)
    friend, away = Friend(), Friend(lambda: (_ for _ in ()).throw(Undelivered("nobody there")))
    one = running(chat=friend, away=away)
    one.delivery.take(notice())
    until(lambda: len(friend.got) == 1 and len(one.said) >= 2)
    assert sum("disk is full; make room; a restart would lose what waits" in line for line in one.said) == 1
    full[0] = False
    until(lambda: "notify: the spool works again" in one.said)
    one.end()
    left = Spool(path)
    assert [(row.receiver, row.told) for row in left.rows()][:1] == [("away", None)]
    left.close()


_CHILD = """
import sys, threading
sys.path[:0] = {paths!r}
from halfopen.notify.delivery import Delivery
from notices import notice, receiver

one = Delivery([receiver("webhook", url=sys.argv[1])], sys.argv[2])
threading.Thread(target=one.run, args=(threading.Event(),), daemon=True).start()
n = 0
for line in sys.stdin:
    for _ in range(int(line)):
        one.take(notice(incident=f"i-{{n}}"))
        n += 1
    print(n, flush=True)
"""


def _killed(server: BadServer, path: str, script: Path) -> None:
    """A delivery that took 50 notices, and is killed while the eighth is under way."""
    server.script = ["ok"] * 7 + ["hang"]
    child = subprocess.Popen(
        [sys.executable, str(script), f"{server.url}/ok", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        child.stdin.write("50\n")
        child.stdin.flush()
        assert child.stdout.readline() == "50\n"
        server.wait(8)
        child.send_signal(signal.SIGKILL)


def test_kill_9_in_the_middle_loses_nothing(tmp_path: Path, path: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(_CHILD.format(paths=[p for p in sys.path if p]))
    with BadServer() as server:
        _killed(server, path, script)
        delivery = Delivery([receiver("webhook", url=f"{server.url}/ok")], path)
        stop = threading.Event()
        thread = threading.Thread(target=delivery.run, args=(stop,))
        thread.start()

        def told() -> dict[str, int]:
            bodies = [json.loads(post.body)["data"]["incident"] for post in server.posts]
            return {incident: bodies.count(incident) for incident in bodies}

        try:
            until(lambda: len(told()) == 50, 30)
        finally:
            stop.set()
            thread.join(20)
        twice = [incident for incident, n in told().items() if n > 1]
        # What was under way may come again, with the id it had: at least once, never lost.
        assert 1 <= len(twice) <= 8
        ids = {json.loads(post.body)["data"]["incident"]: set[str]() for post in server.posts}
        for post in server.posts:
            ids[json.loads(post.body)["data"]["incident"]].add(post.headers["webhook-id"])
        assert all(len(found) == 1 for found in ids.values())
