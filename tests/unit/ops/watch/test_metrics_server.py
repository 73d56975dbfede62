"""Metrics over HTTP: what is answered, and that no client keeps another one, or the watch, waiting."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.metrics_text import MetricsText
from halfopen.ops.watch.http_answer import HEAD_MOST, answer
from halfopen.ops.watch.metrics_server import MetricsServer

TEXT = b"# HELP x X\n# TYPE x gauge\nx 1.0\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "m.sock")


@pytest.fixture
def server(path: str) -> Iterator[MetricsServer]:
    made = MetricsServer(path)
    made.write(MetricsText(TEXT))
    yield made
    made.close()


def connect(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)  # without a time limit: with one, a full queue is an error
    one.settimeout(60)
    return one


def asked(path: str, request: bytes = GET) -> bytes:
    """Everything that comes back."""
    with connect(path) as one:
        one.sendall(request)
        return b"".join(iter(lambda: one.recv(65536), b""))


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, 200),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\n\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../etc HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * HEAD_MOST, 431),
        (b"a" * HEAD_MOST, 400),
    ],
)
def test_answers(request_: bytes, status: int) -> None:
    made = answer(request_, TEXT)
    assert made is not None
    head, body = made
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert lines[-2:] == ["", ""]
    assert f"Content-Length: {len(body)}" in lines
    assert "Connection: close" in lines
    assert (body == TEXT) == (status == 200)
    assert ("Allow: GET" in lines) == (status == 405)


@pytest.mark.parametrize("cut", [0, 3, 12, len(GET) - 1])
def test_a_request_that_has_not_come_whole_waits(cut: int) -> None:
    assert answer(GET[:cut], TEXT) is None


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_bring_the_text_but_a_request_for_it(noise: bytes, after: bool) -> None:
    made = answer(noise + GET if not after else GET[:-2] + noise, TEXT)
    if made is not None and made[1] == TEXT:
        assert after or not noise


# --- the server -------------------------------------------------------------------------------------------------------


def test_it_serves_the_last_text_as_prometheus_asks_for_it(server: MetricsServer, path: str) -> None:
    head, _, body = asked(path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert body == TEXT
    server.write(MetricsText(b"x 2.0\n"))
    assert asked(path).endswith(b"\r\n\r\nx 2.0\n")


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_it_listens_on_loopback(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = MetricsServer(f"{address}:{port}")
    made.write(MetricsText(TEXT))
    try:
        asking = http.client.HTTPConnection(address.strip("[]"), port, timeout=10)
        asking.request("GET", "/metrics")
        answered = asking.getresponse()
        assert (answered.status, answered.read()) == (200, TEXT)
        asking.close()
        with pytest.raises(HalfopenError, match="in use"):
            MetricsServer(f"{address}:{port}")
    finally:
        made.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.strip("[]"), port), timeout=5)


@pytest.mark.parametrize("where", ["0.0.0.0:9764", "[::]:9764", "192.0.2.1:9764", ":9764", "9764", "localhost:9764"])
def test_an_address_that_others_reach_is_refused(where: str) -> None:
    with pytest.raises(UsageError):
        MetricsServer(where)


def test_anywhere_is_taken_where_it_is_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = MetricsServer(f"0.0.0.0:{port}", anywhere=True)
    made.close()


def test_garbage_is_answered_and_closed(server: MetricsServer, path: str) -> None:
    assert asked(path, b"\0\xff\n" * 1000).startswith(b"HTTP/1.1 400 ")
    assert asked(path, b"POST /metrics HTTP/1.1\r\n\r\n" + b"a" * 100_000).startswith(b"HTTP/1.1 405 ")
    with connect(path) as one:
        one.shutdown(socket.SHUT_WR)
        assert one.recv(10) == b"", "closed at once, without a request"
    assert asked(path).endswith(TEXT)


def test_clients_that_hang_make_room_for_others(server: MetricsServer, path: str) -> None:
    with ExitStack() as hanging:
        for i in range(100):
            one = hanging.enter_context(connect(path))
            one.sendall(GET[: i % 20])
        began = time.monotonic()
        assert asked(path).endswith(TEXT)
        assert time.monotonic() - began < 30
        assert len(server._clients) <= 32


def test_a_client_that_does_not_read_keeps_nobody_waiting(server: MetricsServer, path: str) -> None:
    large = b"x" * 5_000_000
    server.write(MetricsText(large))
    with ExitStack() as slow:
        for _ in range(10):
            slow.enter_context(connect(path)).sendall(GET)
        began = time.monotonic()
        server.write(MetricsText(TEXT))
        assert time.monotonic() - began < 10, "the watch waits for nobody"
        assert asked(path).endswith(TEXT)
        assert time.monotonic() - began < 30


def test_one_that_is_slow_gets_its_whole_text_of_one_moment(server: MetricsServer, path: str) -> None:
    large = b"x" * 3_000_000
    server.write(MetricsText(large))
    with connect(path) as one:
        one.sendall(GET)
        first = one.recv(1000)
        server.write(MetricsText(TEXT))
        whole = first + b"".join(iter(lambda: one.recv(65536), b""))
    assert whole.endswith(b"\r\n\r\n" + large)


def test_each_client_has_a_few_seconds(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("halfopen.ops.watch.metrics_server._CLIENT_S", 0.2)
    made = MetricsServer(path)
    try:
        with connect(path) as one:
            one.sendall(GET[:10])
            assert one.recv(10) == b"", "it was closed"
    finally:
        made.close()


def test_many_ask_one_after_another(server: MetricsServer, path: str) -> None:
    assert all(asked(path).endswith(TEXT) for _ in range(100))
    until = time.monotonic() + 5
    while server._clients and time.monotonic() < until:
        time.sleep(0.01)
    assert not server._clients


# --- the Unix socket --------------------------------------------------------------------------------------------------


def test_the_group_may_connect_whatever_the_umask(path: str) -> None:
    before = os.umask(0o077)
    try:
        made = MetricsServer(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    made.close()
    assert not os.path.exists(path)


def test_what_a_dead_one_left_is_replaced_and_a_live_one_is_not(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    made = MetricsServer(path)
    made.write(MetricsText(TEXT))
    with pytest.raises(HalfopenError, match="another program listens"):
        MetricsServer(path)
    assert asked(path).endswith(TEXT)
    made.close()


def test_it_takes_no_other_file_away(path: str) -> None:
    Path(path).write_text("mine")
    with pytest.raises(HalfopenError, match="is no socket"):
        MetricsServer(path)
    assert Path(path).read_text() == "mine"


def test_a_path_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(HalfopenError, match="too long"):
        MetricsServer(str(tmp_path / ("a" * 200)))
    with pytest.raises(HalfopenError, match="No such file"):
        MetricsServer(str(tmp_path / "none" / "m.sock"))
