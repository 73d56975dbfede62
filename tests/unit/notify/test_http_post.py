"""Posting, to a server that fails in every way: a bounded time, a bounded answer, and no secret in any error."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bad_http import BadServer
from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.notify.http_post import PostTarget, post


@pytest.fixture(scope="module")
def server() -> Iterator[BadServer]:
    with BadServer() as made:
        yield made


def refused(url: str, within_s: float = 10.0, **more: str) -> Undelivered:
    with pytest.raises(Undelivered) as e:
        post(PostTarget(url, **more), b"{}", {}, within_s)
    return e.value


def test_an_answer(server: BadServer) -> None:
    assert post(PostTarget(f"{server.url}/ok/T0KEN?a=b"), b'{"a": 1}', {"X-Y": "z"}, 5) == "200 OK"
    came = server.posts[-1]
    assert (came.path, came.body, came.headers["x-y"]) == ("/ok/T0KEN?a=b", b'{"a": 1}', "z")
    assert came.headers["user-agent"].startswith("halfopen/")


@pytest.mark.parametrize(
    ("path", "says", "hopeless", "retry_after_s"),
    [
        ("/500/T0KEN", "answered 500 Internal Server Error: why!", False, None),
        ("/503", "answered 503 Service Unavailable: why!", False, 7.0),
        ("/429", "answered 429 Too Many Requests: why!", False, 7.0),
        ("/400", "answered 400 Bad Request: why!", True, None),
        ("/410", "answered 410 Gone: why!", True, None),
        ("/redirect", "answered 307 Temporary Redirect", True, None),
        ("/999", "answered 999", False, None),
        ("/reset/T0KEN", "", False, None),
        ("/garbage/T0KEN", "is not HTTP", False, None),
    ],
)
def test_refusals(server: BadServer, path: str, says: str, hopeless: bool, retry_after_s: float | None) -> None:
    e = refused(server.url + path)
    assert says in e.message
    assert e.message.startswith(server.url)
    assert (e.hopeless, e.retry_after_s) == (hopeless, retry_after_s)
    assert "T0KEN" not in e.line()
    assert "passwd" not in e.line()


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_the_time_is_bounded(server: BadServer, path: str) -> None:
    began = time.monotonic()
    e = refused(server.url + path, 0.4)
    assert "no answer within 0.4 s" in e.message
    assert time.monotonic() - began < 30


def test_an_answer_without_end_is_read_a_little(server: BadServer) -> None:
    assert post(PostTarget(f"{server.url}/huge"), b"", {}, 10) == "200 OK"


def test_no_error_repeats_a_secret_or_what_a_terminal_obeys(server: BadServer) -> None:
    target = PostTarget(f"{server.url}/echo/T0KEN?key=S3CRET", secrets=("hunter22",))
    with pytest.raises(Undelivered) as e:
        post(target, b"", {"Authorization": "Bearer hunter22"}, 5)
    assert "/***/***?key=*** Bearer *** ?[31m" in e.value.message
    for secret in ("T0KEN", "S3CRET", "hunter22", "\x1b"):
        assert secret not in e.value.line()


def test_nobody_there(server: BadServer) -> None:
    assert "Connection refused" in refused("http://127.0.0.1:1/T0KEN").message
    assert "T0KEN" not in refused("http://127.0.0.1:1/T0KEN").line()
    assert "not known" in refused("http://no.such.host.invalid/").message


# --- TLS --------------------------------------------------------------------------------------------------------------


class _Ok(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("tls")
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", *words, *names, "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=at,
        check=True,
        capture_output=True,
    )
    return at


@pytest.fixture(scope="module")
def tls(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with HTTPServer(("127.0.0.1", 0), _Ok) as served:
        served.socket = context.wrap_socket(served.socket, server_side=True)
        served.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.server_port
        served.shutdown()


def test_certificates_are_verified(certificate: Path, tls: int) -> None:
    own = str(certificate / "cert.pem")
    assert post(PostTarget(f"https://localhost:{tls}/", own), b"", {}, 10) == "204 No Content"
    assert "its certificate is not trusted" in refused(f"https://localhost:{tls}/").message
    assert "its certificate is not trusted" in refused(f"https://127.0.0.1:{tls}/", ca_file=own).message


def test_a_bad_file_of_authorities(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pem", tmp_path / "bad.pem"):
        (tmp_path / "bad.pem").write_text("no certificate")
        with pytest.raises(HalfopenError, match="pem"):
            post(PostTarget("https://localhost:1/", str(path)), b"", {}, 1)


def test_tls_to_a_server_that_hangs_ends_in_time(server: BadServer) -> None:
    began = time.monotonic()
    # It reads a ClientHello for a request and waits for its end.
    refused(server.url.replace("http:", "https:") + "/hang", 0.5)
    assert time.monotonic() - began < 30
