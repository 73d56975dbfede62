"""Chat and mail through Apprise: Slack, Teams, Telegram, DingTalk, WeCom, Feishu, mail and its other services.

Apprise runs in a process of its own for each message, which gets the URL on standard input and is killed if it does not
end in time. So its 15 MB are in use for a second only, and no plugin of Apprise can block anything.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import util
from typing import Any, Final

from halfopen.core.errors import DAMAGED, HalfopenError, Undelivered
from halfopen.core.notice import Notice
from halfopen.core.sections.notify import NotifySettings
from halfopen.notify import process, secrets
from halfopen.notify.receiver import Message

_CHILD: Final = "halfopen.notify.apprise_child"
# Environment variables for proxies and certificates, as requests uses them; no credentials.
_PASSED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_MISSING: Final = "pip install 'halfopen[notify]'"
_SHOWN: Final = 200


class Apprise:
    """Sends each message through one Apprise URL, which is the secret's only line."""

    batch = 1

    def __init__(self, settings: NotifySettings) -> None:
        """Raises: HalfopenError if Apprise is not installed."""
        self._settings = settings
        if util.find_spec("apprise") is None:
            raise HalfopenError("apprise", "Apprise is not installed", hint=_MISSING)

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Send the one message within `within_s` seconds. Raises: HalfopenError "secret", Undelivered."""
        words = secrets.of(self._settings)
        if len(words) > 1:
            raise HalfopenError("secret", f"{len(words)} URLs in one secret", hint="add a [[notify]] section for each")
        order = {"url": words[0], **content(messages[0].notice)}
        outcome = process.run(
            (sys.executable, "-P", "-m", _CHILD), json.dumps(order).encode(), _environment(), within_s
        )
        said = _said(outcome.output)
        if said is None:
            raise Undelivered(f"Apprise: ended with {outcome.code} and no answer")
        if said["sent"]:
            return f"sent by Apprise {said['version']}"
        why = " ".join(secrets.hide(said["why"], secrets.parts_of(words[0])).split())[:_SHOWN]
        raise Undelivered(f"Apprise: {why}" if why else "Apprise: the service did not take the message")


def content(notice: Notice) -> dict[str, str]:
    """Title, body and kind of a message."""
    kind = "info" if notice.test else "success" if notice.over else "failure"
    if notice.level != "critical" and kind == "failure":
        kind = "warning"
    return {"title": notice.title, "body": "\n".join(notice.text), "kind": kind}


def _environment() -> dict[str, str]:
    names = (*_PASSED, *_PROXIES, *map(str.upper, _PROXIES))
    found = {name: os.environ[name] for name in names if name in os.environ}
    # So that the child finds this package where this process found it.
    return {**found, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONNOUSERSITE": "1"}


def _said(output: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(output.splitlines()[-1])
        return {"sent": bool(said["sent"]), "why": str(said["why"]), "version": str(said["version"])}
    except (IndexError, *DAMAGED):
        return None
