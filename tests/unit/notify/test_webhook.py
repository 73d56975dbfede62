"""Webhooks as the other side sees them: its own library says whether the signature holds."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from bad_http import BadServer
from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.notify.receiver import Message
from halfopen.notify.webhook import Webhook, keys
from notices import notice, receiver


def secret(byte: int, length: int = 32) -> str:
    return "whsec_" + base64.b64encode(bytes([byte]) * length).decode()


OLD, NEW, OTHER = secret(1), secret(2, 24), secret(3, 64)


@pytest.fixture(scope="module")
def server() -> Iterator[BadServer]:
    with BadServer() as made:
        yield made


def sent(server: BadServer, tmp_path: Path, words: str, **changes: object) -> tuple[dict[str, str], bytes]:
    file = tmp_path / "secret"
    file.write_text(words)
    file.chmod(0o600)
    one = Webhook(receiver(url=f"{server.url}/ok", secret_file=str(file)))
    one.send([Message("msg_1", notice(**changes))], 10)
    return server.posts[-1].headers, server.posts[-1].body


def test_signed_by_every_secret_while_one_is_rotated(server: BadServer, tmp_path: Path) -> None:
    headers, body = sent(server, tmp_path, f"# the new one first\n{NEW}\n\n{OLD}\n")
    for known in (NEW, OLD):
        data = Verifier(known).verify(body, headers)
        assert data["type"] == "halfopen.incident.firing"
    with pytest.raises(WebhookVerificationError):
        Verifier(OTHER).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(NEW).verify(body.replace(b"4096", b"4097"), headers)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["webhook-id"] == "msg_1"
    assert headers["content-type"] == "application/json"


def test_the_body(server: BadServer, tmp_path: Path) -> None:
    _, body = sent(server, tmp_path, OTHER, state="resolved", at_s=1_000_000_060.25)
    document = json.loads(body)
    assert list(document) == ["type", "timestamp", "data"]
    assert document["timestamp"] == "2001-09-09T01:47:40.250Z"
    data = document["data"]
    assert (data["incident"], data["state"], data["cause"], data["peak"]) == ("i-1", "resolved", "syn-flood", 5000)
    assert data["cures"] == ["halfopen release --older-than 10s"]
    assert json.loads(sent(server, tmp_path, OTHER, test=True)[1])["type"] == "halfopen.test"


def test_a_secret_url_stands_in_the_secret(server: BadServer, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{server.url}/404/T0KEN\n{NEW}\n")
    file.chmod(0o600)
    with pytest.raises(Undelivered, match="404") as e:
        Webhook(receiver(secret_file=str(file))).send([Message("m", notice())], 10)
    assert server.posts[-1].path == "/404/T0KEN"
    assert "T0KEN" not in e.value.line()


def test_without_a_secret_it_is_not_signed(server: BadServer) -> None:
    Webhook(receiver(url=f"{server.url}/ok")).send([Message("msg_2", notice())], 10)
    headers = server.posts[-1].headers
    assert headers["webhook-id"] == "msg_2"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize("word", ["whsec_", "whsec_###", secret(1, 23), secret(1, 65), "whsec_" + "A" * 43])
def test_keys_are_as_the_specification_has_them(word: str) -> None:
    with pytest.raises(HalfopenError, match="signing key") as e:
        keys([word])
    assert word.removeprefix("whsec_") not in e.value.line() or word == "whsec_"
