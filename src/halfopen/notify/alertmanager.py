"""Alertmanager's API v2: alerts are resent as long as they fire, and for a while after they are resolved.

Alertmanager keeps what it was sent until `endsAt`. So a firing alert has an `endsAt` four intervals ahead, and ends on
its own once it is no longer sent (prometheus/alertmanager, docs/alerts_api.md).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from halfopen.core.notice import Notice
from halfopen.core.sections.notify import NotifySettings
from halfopen.notify import secrets
from halfopen.notify.http_post import PostTarget, post
from halfopen.notify.receiver import Message

_PATH: Final = "/api/v2/alerts"
_INTERVALS: Final = 4


class Alertmanager:
    """Posts all messages of a moment in one request."""

    batch = 64

    def __init__(self, settings: NotifySettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Post the alerts of the messages."""
        settings = self._settings
        words = secrets.of(settings)
        alerts = [alert for message in messages for alert in alerts_of(message, self._now(), settings.repeat())]
        headers = {"Content-Type": "application/json", **_authorization(settings.user, words)}
        target = PostTarget(settings.url.rstrip("/") + _PATH, settings.ca_file, words)
        return post(target, json.dumps(alerts, ensure_ascii=False).encode(), headers, within_s)


def alerts_of(message: Message, now_s: float, interval_s: float) -> Iterator[dict[str, Any]]:
    """The alert of an incident; if its labels have changed, preceded by the end of the alert with the old labels."""
    notice, before = message.notice, message.before
    if before is not None and labels(before) != labels(notice) and not before.over:
        yield _alert(before, now_s)
    yield _alert(notice, (notice.ended_s or now_s) if notice.over else now_s + _INTERVALS * interval_s)


def labels(notice: Notice) -> dict[str, str]:
    """The labels that identify the alert: only what does not change from reading to reading."""
    found = {
        "alertname": "HalfOpenTest" if notice.test else "HalfOpen" if notice.alarmed else "HalfOpenRising",
        "severity": notice.level,
        "host": notice.host,
        "netns": notice.netns,
        "listener": notice.listener,
        "cause": notice.cause,
    }
    # For Alertmanager, an empty label and a missing one are the same.
    return {name: value for name, value in found.items() if value}


def _alert(notice: Notice, ends_s: float) -> dict[str, Any]:
    annotations = {
        "summary": notice.title,
        "description": "\n".join(notice.text),
        "incident": notice.incident,
        "command": notice.cures[0] if notice.cures else "",
    }
    return {
        "labels": labels(notice),
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _time(notice.began_s),
        # Never before startsAt, even if the clock was set back.
        "endsAt": _time(max(ends_s, notice.began_s + 0.001)),
    }


def _time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _authorization(user: str, words: Sequence[str]) -> dict[str, str]:
    """Basic authentication if a user is named, otherwise the secret as a bearer token."""
    if not words:
        return {}
    if user:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{words[0]}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {words[0]}"}
