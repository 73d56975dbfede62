"""Secrets come from files that nobody else can read, and go nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.notify import secrets
from halfopen.notify.http_post import PostTarget
from notices import receiver


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("# a comment\n\n  hunter22 \nsecond\n")
    path.chmod(0o600)
    return path


def said(*where: str) -> str:
    with pytest.raises(HalfopenError) as e:
        secrets.lines(*where)
    assert "hunter22" not in e.value.line()
    return e.value.line()


def test_lines_without_comments(file: Path) -> None:
    assert secrets.lines(str(file), "") == ["hunter22", "second"]
    assert secrets.of(receiver(url="http://x", secret_file=str(file))) == ["hunter22", "second"]
    assert secrets.of(receiver(url="http://x")) == []


def test_a_file_that_others_can_read_is_refused(file: Path) -> None:
    for mode in (0o640, 0o604, 0o660, 0o644):
        file.chmod(mode)
        assert said(str(file), "") == f"secret {file}: could be read by others; chmod 600 {file}"
    file.chmod(0o400)
    assert secrets.lines(str(file), "")


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a regular file" in said(str(tmp_path / "pipe"), "")
    assert "No such file" in said(str(tmp_path / "none"), "")
    assert re.search("null (byte|character)", said("/a\0b", ""))  # until Python 3.12, and since
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "empty").chmod(0o600)
    assert "holds no secret" in said(str(tmp_path / "empty"), "")
    file.write_bytes(b"\xff\xfehunter22")
    assert "is not UTF-8" in said(str(file), "")


def test_credentials_of_systemd(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "$CREDENTIALS_DIRECTORY is not set" in said("", "chat")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    file.chmod(0o440)  # as the mask of the access list shows it
    assert secrets.lines("", "secret") == ["hunter22", "second"]
    assert "LoadCredential=chat:" in said("", "chat")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.org/services/T0/B0/abcd", "https://hooks.example.org/***"),
        ("https://user:hunter22@example.org:8443/", "https://example.org:8443"),
        ("http://[::1]:9093/?token=hunter22", "http://[::1]:9093/***"),
        ("https://a.example:99999999/hunter22", "***"),
        ("https://a.example/x\x1b[31m", "https://a.example/***"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, shown: str) -> None:
    assert PostTarget(url).shown == shown


def test_hiding() -> None:
    url = "https://user:hunter22@h.example/one%2Ftoken/deep?key=value9&x=abc"
    text = f"failed: {url} and hunter22, one/token, one%2Ftoken, value9, abc\x1b[0m"
    assert secrets.hide(text, secrets.parts_of(url)) == "failed: *** and ***, ***, ***, ***, abc?[0m"
    # The host of a Slack URL of Apprise is a token.
    words = secrets.parts_of("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/")
    assert secrets.hide("T1JJ3T3L2/TIiajkdnlazkcOXrIdevi7FQ", words) == "***/***"
