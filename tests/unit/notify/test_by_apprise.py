"""Chat and mail by the real Apprise, in its own process: to an SMTP server and a web server of the test's."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_http import BadServer
from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.notify import by_apprise
from halfopen.notify.by_apprise import Apprise, content
from halfopen.notify.receiver import Message
from notices import notice, receiver
from small_smtp import SmallSmtp

pytestmark = pytest.mark.slow  # together: each imports Apprise in a process of its own


@pytest.fixture(scope="module")
def smtp() -> Iterator[SmallSmtp]:
    with SmallSmtp() as made:
        yield made


def send(tmp_path: Path, url: str, within_s: float = 30.0, **changes: object) -> str:
    file = tmp_path / "url"
    file.write_text(url)
    file.chmod(0o600)
    one = Apprise(receiver("apprise", secret_file=str(file)))
    return one.send([Message("m", notice(**changes))], within_s)


def test_a_mail(tmp_path: Path, smtp: SmallSmtp) -> None:
    url = f"mailto://127.0.0.1:{smtp.port}?from=halfopen@example.org&to=ops@example.org&format=text"
    assert send(tmp_path, url, title="报警 web-1", text=("洪水。", "Next: halfopen release")).startswith(
        "sent by Apprise"
    )
    mail = smtp.mails[-1]
    assert "报警 web-1" in str(mail["Subject"])
    assert "ops@example.org" in str(mail["To"])
    body = mail.get_body(("plain",))
    assert body is not None
    assert "洪水。" in body.get_content()
    assert "Next: halfopen release" in body.get_content()


def test_a_mail_that_is_refused(tmp_path: Path, smtp: SmallSmtp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "refuse", True)
    url = f"mailto://127.0.0.1:{smtp.port}?from=halfopen@example.org&to=ops@example.org"
    with pytest.raises(Undelivered, match="Apprise: "):
        send(tmp_path, url)


def test_a_chat_that_fails_is_named_without_its_token(tmp_path: Path) -> None:
    with BadServer() as server:
        host = server.url.removeprefix("http://")
        assert send(tmp_path, f"json://{host}/ok/T0KENT0KEN").startswith("sent by")
        data = json.loads(server.posts[-1].body)
        assert (data["title"], data["type"]) == (notice().title, "failure")
        assert data["message"].splitlines() == list(notice().text)
        with pytest.raises(Undelivered) as e:
            send(tmp_path, f"json://user:hunter22@{host}/500/T0KENT0KEN")
        assert "500" in e.value.line()
        for secret in ("T0KENT0KEN", "hunter22"):
            assert secret not in e.value.line()


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    with BadServer() as server:
        began = time.monotonic()
        with pytest.raises(Undelivered, match="did not end within 3 s, and was killed"):
            send(tmp_path, server.url.replace("http:", "json:") + "/drip/T0KEN", 3.0)
        assert time.monotonic() - began < 60


def test_not_an_apprise_url(tmp_path: Path) -> None:
    with pytest.raises(Undelivered) as e:
        send(tmp_path, "nosuch://hunter22hunter22")
    assert "hunter22" not in e.value.line()
    with pytest.raises(HalfopenError, match="2 URLs in one secret"):
        send(tmp_path, "json://a\njson://b\n")


def test_kinds_of_messages() -> None:
    kinds = [content(one)["kind"] for one in (notice(), notice(level="warning"), notice("resolved"), notice(test=True))]
    assert kinds == ["failure", "warning", "success", "info"]


def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_apprise.util, "find_spec", lambda _: None)
    with pytest.raises(HalfopenError, match="not installed") as e:
        Apprise(receiver("apprise", secret_file="/x"))
    assert e.value.hint == "pip install 'halfopen[notify]'"
    assert "apprise" not in sys.modules
