"""The control socket: what is answered to whom, and that no client keeps another one waiting."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.verdict import judge
from halfopen.core.flight import FlightReading
from halfopen.core.model.model import build
from halfopen.core.reports import Reading, Report, Round
from halfopen.linux import netns
from halfopen.linux.unix_listener import unix_listener
from halfopen.service import control as serving
from halfopen.service.answers import Answered, Answers, Wanted
from halfopen.service.control import Control
from halfopen.service.feed import ReadingsFeed
from halfopen.wire.readings import FrameTaker
from rows import listener, sample
from verdicts import silent


def printed(wanted: Wanted) -> Answered:
    if "--sort=boom" in wanted.words:
        raise HalfopenError("answer", "the answer is longer than 8 MiB")
    return Answered(0, " ".join(wanted.words) + "\n", "", time.monotonic(), 0.0)


class Service:
    """What is asked, and what it was told to do."""

    did: ClassVar[list[str]] = []

    def health(self) -> dict[str, Any]:
        return {"readings": 7}

    def incidents(self) -> dict[str, Any]:
        return {"incidents": []}

    def link(self, *, session: bool = False) -> dict[str, Any]:
        if session:
            raise HalfopenError("web", "the service serves no page", hint="write [web]")
        return {"link": "x"}

    def reload(self) -> dict[str, Any]:
        self.did.append("reload")
        return {"asked": True}

    def silence(self, request: object, uid: int) -> dict[str, Any]:
        self.did.append(f"{type(request).__name__} by {uid}")
        return {"name": ":443"}

    def set_mode(self, *, observe: bool) -> dict[str, Any]:
        self.did.append(f"observe={observe}")
        return {"mode": "observe" if observe else "configured"}


@contextmanager
def controlled(tmp_path: Path, answers: Answers | None = None, **options: Any) -> Iterator[tuple[str, Control]]:
    path = str(tmp_path / "c.sock")
    made = Control(
        unix_listener(path, 64, id="control"),
        Service(),
        answers=answers or Answers(run=printed),
        **options,
    )
    try:
        yield path, made
    finally:
        made.close()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    with controlled(tmp_path) as (path, _):
        yield path


def connect(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    one.settimeout(60)
    return one


def asked(path: str, *requests: object) -> list[Any]:
    """The answer to each request, asked one after another over one connection."""
    answers = []
    with connect(path) as one, one.makefile("rb") as lines:
        for request in requests:
            one.sendall((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
            answers.append(json.loads(lines.readline()))
    return answers


HEALTH = {"command": "health"}


def test_a_link_to_the_page_or_that_there_is_none(path: str) -> None:
    link, none = asked(path, {"command": "web"}, {"command": "web", "session": True})
    assert (link["ok"], link["link"]) == (True, "x")
    assert none["error"] == {
        "id": "web",
        "message": "the service serves no page",
        "hint": "write [web]",
        "exit_code": 1,
    }


def test_several_requests_over_one_connection(path: str) -> None:
    health, shown, bad, again = asked(path, HEALTH, {"command": "status"}, b"{", HEALTH)
    assert health == again == {
        "schema": "halfopen.control/1", "ok": True, "command": "health", "pid": os.getpid(), "readings": 7,
    }  # fmt: skip
    assert (shown["ok"], shown["exit_code"], shown["output"]) == (True, 0, "status --direct\n")
    assert (bad["ok"], bad["error"]["id"], bad["error"]["exit_code"]) == (False, "usage", 2)


def test_requests_that_come_at_once_are_answered_in_order(path: str) -> None:
    with connect(path) as one, one.makefile("rb") as lines:
        one.sendall(b'{"command":"health"}\n{"command":"list"}\n\n{"command":"health"}\n')
        assert [json.loads(lines.readline())["command"] for _ in range(3)] == ["health", "list", "health"]


def test_what_cannot_be_run_is_an_error(path: str) -> None:
    [answer] = asked(path, {"command": "list", "sort": "boom"})
    assert answer["error"]["message"] == "the answer is longer than 8 MiB"


def test_another_namespace_is_not_mistaken_for_the_asker_s(path: str) -> None:
    own = netns.current().inode
    for request, ok in (
        ({"here": own}, True),
        ({"here": own + 1}, False),
        ({"here": own + 1, "netns": "self"}, False),
        ({"netns": "all"}, False),
        ({"netns": "pid:1"}, False),
    ):
        [answer] = asked(path, {"command": "status", **request})
        assert answer["ok"] is ok
        assert ok or answer["error"]["id"] == "elsewhere"


def test_a_service_that_watches_all_answers_for_all(tmp_path: Path) -> None:
    with controlled(tmp_path, everywhere=True) as (path, _):
        [answer] = asked(path, {"command": "status", "netns": "pid:1"})
        assert answer["output"] == "status --direct --netns=pid:1\n"


def test_only_root_acts(path: str) -> None:
    Service.did.clear()
    silences = [
        {"command": "silence", "listener": ":443", "for_s": 60},
        {"command": "acknowledge", "incident": "3f9c1a", "reason": "known"},
        {"command": "unsilence", "name": ":443"},
    ]
    first = {"command": "reload"}, {"command": "mode", "mode": "observe"}
    *answers, last = asked(path, *first, *silences, {"command": "incidents"})
    assert last["incidents"] == []
    if os.geteuid() == 0:
        assert (answers[0]["asked"], answers[1]["mode"], answers[2]["name"]) == (True, "observe", ":443")
        done = ["AskSilence by 0", "AskAcknowledge by 0", "AskUnsilence by 0"]
        assert Service.did == ["reload", "observe=True", *done]
    else:
        assert [one["error"]["id"] for one in answers] == ["not-permitted"] * 5
        assert Service.did == []


def test_a_line_without_end_is_refused_and_closed(path: str) -> None:
    with connect(path) as one:
        one.sendall(b"x" * 20_000)
        said = b"".join(iter(lambda: _received(one), b""))
    assert json.loads(said)["error"]["message"] == "a line is longer than 16384 bytes"
    assert asked(path, HEALTH)[0]["ok"]


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(65536)
    except ConnectionResetError:
        return b""


def test_garbage_is_answered_line_by_line(path: str) -> None:
    with connect(path) as one, one.makefile("rb") as lines:
        one.sendall(b"\0\xff\n" * 50)
        assert all(json.loads(lines.readline())["error"]["id"] == "usage" for _ in range(50))
    assert asked(path, HEALTH)[0]["ok"]


READINGS = {"command": "readings"}


def fed(half_open: int, at_s: float) -> tuple[Reading, Round]:
    model = build(sample(silent(half_open), [listener(limit=1000)], monotonic_s=at_s, wall_s=at_s))
    return Reading(model, judge(model)), Round(frozenset({model.sample.where}), frozenset())


def feed_of(*reports: Report) -> ReadingsFeed:
    made = ReadingsFeed("1")
    for report in reports:
        made.take(report)
    return made


def streamed(one: socket.socket, entries: FrameTaker, until_s: float) -> int:
    """The half-open connections of the reading at that time, read from a stream."""
    while True:
        for entry in entries.take(one.recv(65536)):
            if isinstance(entry, FlightReading) and entry.at_s >= until_s and entry.columns is not None:
                return len(entry.columns.ages_s)


def begin(one: socket.socket, request: object = READINGS) -> Any:
    one.sendall(json.dumps({"here": netns.current().inode, **dict(request)}).encode() + b"\n")  # type: ignore[call-overload]
    line = b""
    while not line.endswith(b"\n"):
        line += one.recv(1)
    return json.loads(line)


def test_a_screen_is_sent_what_is_known_and_every_reading(tmp_path: Path) -> None:
    feed = feed_of(*fed(3, 100.0))
    # The made-up namespace is no other than this one's, as far as the socket can tell.
    with controlled(tmp_path, feed=feed, everywhere=True) as (path, _), connect(path) as one:
        assert begin(one, {**READINGS, "netns": "all"})["ok"]
        entries = FrameTaker()
        assert streamed(one, entries, 100.0) == 3
        for report in fed(5, 101.0):
            feed.take(report)
        assert streamed(one, entries, 101.0) == 5
        # It has no more to say, and nobody else is kept waiting.
        one.sendall(b"x" * 100_000)
        assert asked(path, HEALTH)[0]["ok"]


def test_a_screen_gets_nothing_of_a_namespace_that_is_not_watched(tmp_path: Path) -> None:
    with controlled(tmp_path, watched=netns.current().inode + 1) as (path, _), connect(path) as one:
        refused = begin(one)
        assert (refused["error"]["id"], refused["error"]["exit_code"]) == ("elsewhere", 3)
        assert asked(path, {"command": "status"})[0]["ok"]  # a command reads the kernel itself
    with controlled(tmp_path, watched=netns.current().inode) as (path, _), connect(path) as one:
        assert begin(one)["ok"]


def test_screens_are_few_and_of_the_group(tmp_path: Path) -> None:
    with controlled(tmp_path) as (path, control), ExitStack() as there:
        screens = [there.enter_context(connect(path)) for _ in range(5)]
        *granted, refused = [begin(one) for one in screens]
        assert all(one["ok"] for one in granted)
        assert (refused["error"]["id"], refused["error"]["hint"]) == ("busy", "close one, or use --direct")
        # Many requests make no room by closing a screen.
        for _ in range(12):
            there.enter_context(connect(path)).sendall(b'{"comm')
        assert asked(path, HEALTH)[0]["ok"]
        screens[0].setblocking(False)
        assert screens[0].recv(65536)
        with pytest.raises(BlockingIOError):
            screens[0].recv(1)
        assert control.alive
    with controlled(tmp_path) as (path, _), connect(path) as one:
        assert begin(one, {**READINGS, "netns": "all"})["error"]["id"] == "elsewhere"


def test_a_screen_that_reads_nothing_is_left_behind_and_then_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_IDLE_S", 0.5)
    feed = feed_of(*fed(3, 100.0))
    with controlled(tmp_path, feed=feed, everywhere=True) as (path, _), connect(path) as slow, connect(path) as quick:
        every = {**READINGS, "netns": "all"}
        assert begin(slow, every)["ok"]
        assert begin(quick, every)["ok"]
        entries, at_s = FrameTaker(), 100.0
        assert streamed(quick, entries, at_s) == 3
        # The other is sent each reading all the same.
        left, poll = fed(900, 101.0), select.poll()
        poll.register(slow, select.POLLRDHUP)
        until = time.monotonic() + 60
        while not poll.poll(10):
            assert time.monotonic() < until
            at_s += 1
            feed.take(
                replace(left[0], model=replace(left[0].model, sample=replace(left[0].model.sample, monotonic_s=at_s)))
            )
            feed.take(left[1])
            assert streamed(quick, entries, at_s) == 900
        assert asked(path, HEALTH)[0]["ok"]


def test_a_flood_of_clients_makes_room_for_a_new_one(path: str) -> None:
    with ExitStack() as hanging:
        for i in range(60):
            hanging.enter_context(connect(path)).sendall(b'{"command":'[: i % 11])
        began = time.monotonic()
        assert asked(path, HEALTH)[0]["ok"]
        assert time.monotonic() - began < 30


def test_one_that_does_not_read_keeps_nobody_waiting(path: str) -> None:
    with connect(path) as deaf:
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(b'{"command":"health"}\n' * 100)
        except BlockingIOError:
            pass
        except OSError:
            pass  # it sent so far ahead that it was cut off
        assert asked(path, HEALTH)[0]["ok"]


def test_a_flood_of_requests_costs_a_share_of_a_processor(path: str) -> None:
    """What floods is held up, not the loop: the thread that answers sleeps most of the time."""
    ends = threading.Event()

    def flood() -> None:
        with connect(path) as one:
            one.settimeout(0.2)
            while not ends.is_set():
                try:
                    one.sendall(b'{"command":"health"}\n' * 20)
                    one.recv(65536)
                except OSError:
                    return

    flooding = [threading.Thread(target=flood) for _ in range(3)]
    for one in flooding:
        one.start()
    control = next(t for t in threading.enumerate() if t.name == "halfopen-control")
    clock = time.pthread_getcpuclockid(control.ident or 0)
    began, used = time.monotonic(), time.clock_gettime(clock)
    time.sleep(1.0)
    share = (time.clock_gettime(clock) - used) / (time.monotonic() - began)
    ends.set()
    for one in flooding:
        one.join()
    assert share < 0.2, share


def test_each_client_has_a_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfopen.service.control._IDLE_S", 0.2)
    with controlled(tmp_path) as (path, _), connect(path) as one:
        one.sendall(b"{")
        assert one.recv(10) == b"", "it was closed"


def test_the_asker_may_go_before_the_answer_comes(tmp_path: Path) -> None:
    asked_for, go_on = threading.Event(), threading.Event()

    def slow(wanted: Wanted) -> Answered:
        asked_for.set()
        assert go_on.wait(60)
        return printed(wanted)

    with controlled(tmp_path, Answers(run=slow)) as (path, _):
        with connect(path) as one:
            one.sendall(b'{"command":"status"}\n')
            assert asked_for.wait(60)
            assert asked(path, HEALTH)[0]["ok"], "others are answered meanwhile"
        go_on.set()
        assert asked(path, {"command": "status"})[0]["ok"]


def test_signals_wake_the_main_thread_not_this_one(path: str) -> None:
    control = next(t for t in threading.enumerate() if t.name == "halfopen-control")
    status = Path(f"/proc/self/task/{control.native_id}/status").read_text()
    [blocked] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")]
    assert blocked >> (signal.SIGTERM - 1) & 1
