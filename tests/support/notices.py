"""Notices and receivers' settings made up for tests."""

from __future__ import annotations

from typing import Any

from halfopen.core.notice import Notice, NoticeState
from halfopen.core.sections.notify import NotifySettings

STATES = {state.value: state for state in NoticeState}


def notice(state: str = "firing", incident: str = "i-1", at_s: float = 1_000_000_002.5, **more: Any) -> Notice:
    """One of an incident at :443, which began at 1,000,000,000."""
    given = {
        "host": "web-1",
        "netns": "self",
        "began_s": 1_000_000_000.0,
        "ended_s": at_s if state == "resolved" else None,
        "listener": ":443",
        "cause": "syn-flood",
        "level": "critical",
        "because": "drops",
        "title": "ALARM web-1 :443: clients are turned away",
        "log": "ALARM web-1 :443: clients are turned away",
        "summary": "a flood",
        "text": ("A flood.", "Next: halfopen release --older-than 10s"),
        "cures": ("halfopen release --older-than 10s",),
        "waiting": 4096,
        "peak": 5000,
        "unanswered": 3900,
        "arrivals": 4100,
    }
    return Notice(incident=incident, state=STATES[state], at_s=at_s, **{**given, **more})


def receiver(kind: str = "webhook", **more: Any) -> NotifySettings:
    """Settings of a receiver that is told at once."""
    return NotifySettings(**{"kind": kind, "wait_s": 0.0, "per_minute": 600, **more})
