"""The page over HTTP: who gets in, who does not, and what bounds those who are in."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from halfopen.core.errors import HistoryError, UnknownTarget
from halfopen.service.web import server, site
from halfopen.service.web.part import WebPart, settings_of
from halfopen.service.web.passes import PassKind, make
from halfopen.service.web.site import STATIC, PageState
from page import Browser, connected
from peers import until

KEY = bytes(range(32))


class Page:
    """A page that is served at a port of its own."""

    def __init__(self, **options: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.where: tuple[str, int] = self.listener.getsockname()
        settings = {"hosts": ["panel.example.org"], "session_s": 60.0, "history": "", **options}
        self.first = os.eventfd(1, os.EFD_NONBLOCK)
        self.part = WebPart(settings_of(self.listener.fileno(), self.first, KEY, **settings))
        self.show(1)

    def show(self, n: int, more: str = "") -> None:
        documents = {name: json.dumps({"n": n, "lang": name, "more": more}).encode() for name in ("en", "zh")}
        self.part.take(msgspec.msgpack.encode(PageState(time.monotonic(), documents)))

    def browser(self, lasts_s: float = 60.0) -> Browser:
        return Browser(self.where, make(KEY, PassKind.SESSION, lasts_s))

    def close(self) -> None:
        self.part.close()
        self.listener.detach()
        os.close(self.first)


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_a_link_opens_a_session_once(page: Page) -> None:
    link = make(KEY, PassKind.LINK, 60.0)
    browser = Browser(page.where)
    assert browser.status("/state") == 401
    assert browser.enter(link) == 200
    assert browser.json("/state")["state"]["n"] == 1
    assert Browser(page.where).enter(link) == 401
    assert Browser(page.where).enter(make(KEY, PassKind.LINK, -1.0)) == 401


@pytest.mark.parametrize("path", ["/state", "/stream", "/timeline", "/incident?id=1", "/nothing"])
def test_data_takes_a_session_that_is_not_over(page: Page, path: str) -> None:
    assert Browser(page.where).status(path) == 401
    assert page.browser(lasts_s=-1).status(path) == 401
    other = Browser(page.where, make(bytes(32), PassKind.SESSION, 60.0))
    assert other.status(path) == 401
    assert Browser(page.where).status(path, Cookie=f"session={page.browser().session}") == 401
    assert Browser(page.where).status(f"{path}{'&' if '?' in path else '?'}token={page.browser().session}") == 401


def test_the_page_itself_holds_no_data_and_every_file_is_there(page: Page) -> None:
    assert {name for name, _ in STATIC.values()} == {
        one.name for one in (files("halfopen.service.web") / "static").iterdir()
    }
    for path, (_, kind) in STATIC.items():
        with Browser(page.where).get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == kind
            text = answer.read().decode()
        assert len(text) > 100
        if kind.startswith("text/html"):
            assert "<script>" not in text
            assert " style=" not in text
            assert " on" not in text.replace(" on ", " ")
    assert Browser(page.where).json("/words?lang=zh")["now"] == "当前"


def test_no_answer_lets_a_browser_do_what_the_page_does_not_need(page: Page) -> None:
    for path in ("/", "/state", "/nothing"):
        with page.browser().get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert not any(name.lower().startswith("access-control-") for name in answer.headers)
            assert "Set-Cookie" not in answer.headers
            assert "Server" not in answer.headers


def test_another_name_than_its_own_gets_nothing_at_all(page: Page) -> None:
    """DNS rebinding: a site has its own name resolve to this host, and its page asks us."""
    session = page.browser()
    port = page.where[1]
    for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0"):
        for path in ("/", "/state", "/session"):
            assert session.status(path, Host=name) == 421
    for name in ("localhost", f"localhost:{port}", "LocalHost:1", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert session.status("/state", Host=name) == 200
    assert session.status("/state", Host="panel.example.org") == 200


def test_what_another_site_asks_for_is_refused(page: Page) -> None:
    session = page.browser()
    host = f"localhost:{page.where[1]}"
    for site_of in ("cross-site", "same-site"):
        assert session.status("/state", Sec_Fetch_Site=site_of) == 403
        assert session.status("/page.js", Sec_Fetch_Site=site_of) == 403
        # A link that somebody clicks leads to the page, and that is empty.
        assert session.status("/", Sec_Fetch_Site=site_of, Sec_Fetch_Mode="navigate") == 200
    assert session.status("/state", Sec_Fetch_Site="same-origin") == 200
    assert session.status("/state", Host=host, Origin="http://evil.example") == 403
    assert session.status("/state", Host=host, Origin="http://localhost:1") == 403
    assert session.status("/state", Host=host, Origin=f"http://{host}") == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_only_get(page: Page, method: str) -> None:
    with page.browser().get("/state", method) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET"


def test_what_is_no_request_is_refused_and_a_head_that_never_ends_too(page: Page) -> None:
    for words, status in ((b"hello\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, b"431")):
        with connected(page.where) as one:
            one.sendall(words)
            assert one.recv(100).split()[1] == status


def test_history_that_is_not_there_is_said(page: Page) -> None:
    with page.browser().get("/timeline?span=hour") as answer:
        assert answer.status == 404
        assert b"the service keeps no history" in answer.read()


def test_what_history_cannot_tell_is_said(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Mapping[str, str], __: str) -> bytes:
        raise HistoryError("the history is damaged", hint="mend it")

    monkeypatch.setitem(page.part._site._kept, "/timeline", fails)
    with page.browser().get("/timeline") as answer:
        assert (answer.status, answer.read()) == (503, b"the history is damaged; mend it\n")
    monkeypatch.setitem(page.part._site._kept, "/incident", lambda *_: (_ for _ in ()).throw(UnknownTarget("no such")))
    assert page.browser().status("/incident?id=1") == 404
    page.part._site._remembered = {}
    monkeypatch.undo()
    with page.browser().get("/timeline?span=hour&lang=zh") as answer:
        assert "服务没有保存历史" in answer.read().decode()


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_shows_each_state_as_it_comes(page: Page) -> None:
    stream = page.browser().stream("/stream?lang=zh")
    assert stream.status == 200
    states = iter(stream)
    assert next(states)["state"] == {"n": 1, "lang": "zh", "more": ""}
    until(lambda: page.part.watched == ("zh",))
    page.show(2)
    event = next(states)
    assert event["state"]["n"] == 2
    assert 0 <= event["age_s"] < 20
    stream.close()
    page.show(3)


def test_a_stream_ends_when_its_session_does(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "_ALIVE_S", 0.05)
    stream = page.browser(lasts_s=0.5).stream()
    assert len(list(stream)) >= 1
    stream.close()


def test_many_streams_are_bounded_and_one_that_ends_makes_room(page: Page) -> None:
    """A thousand: as many as there is room for are served, each other one is told why not."""
    session = page.browser()
    opened = [session.stream() for _ in range(1000)]
    served = [one for one in opened if one.status == 200]
    assert len(served) == server.STREAMS_MOST
    assert {one.status for one in opened} == {200, 503}
    assert session.status("/state") == 200
    for one in opened:
        one.close()
    page.show(2)

    def again() -> bool:
        one = session.stream()
        one.close()
        return one.status == 200

    until(again)


def test_a_slow_reader_is_dropped_and_holds_up_nobody(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOW_S", 1.5)
    slow = connected(page.where)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    session = page.browser()
    slow.sendall(f"GET /stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {session.session}\r\n\r\n".encode())
    quick = session.stream()
    until(lambda: page.part._server.streams == 2)
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(one["state"]["n"] for one in quick), daemon=True)
    reader.start()
    n = 1

    def shown() -> None:
        nonlocal n
        n += 1
        page.show(n, "x" * 500_000)
        time.sleep(0.1)

    until(lambda: page.part._server.streams < 2 or shown() is not None)
    assert page.part._server.streams == 1
    last = n
    until(lambda: (seen[-1:] or [0])[0] > last or shown() is not None)
    slow.close()
    quick.socket.shutdown(socket.SHUT_RDWR)
    reader.join(timeout=20)
    quick.close()


def test_those_who_ask_nothing_make_room_for_who_does(page: Page) -> None:
    idle = [connected(page.where) for _ in range(2 * server.CONNECTIONS_MOST)]
    assert page.browser().status("/state") == 200
    for one in idle:
        one.close()


def test_who_never_asks_is_dropped(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    with connected(page.where) as one:
        one.sendall(b"GET / HTTP/1.1\r\n")
        assert one.recv(10) == b""
