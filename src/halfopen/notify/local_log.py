"""The journal and syslog of this machine: a datagram for each message, sent without waiting."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Final

from halfopen.core.errors import Undelivered
from halfopen.core.notice import Notice
from halfopen.core.sections.notify import NotifySettings
from halfopen.linux import systemd
from halfopen.notify.receiver import Message

_SYSLOG: Final = "/dev/log"
# The message id of all records, for `journalctl MESSAGE_ID=…`.
MESSAGE_ID: Final = "9f0f6e3c5d0b4c5b8a6f2a1f5f6d7c31"
_IDENTIFIER: Final = "halfopen"
# syslog(3): LOG_CRIT, LOG_WARNING, LOG_NOTICE; the facility LOG_DAEMON.
_PRIORITIES: Final = {"critical": 2, "warning": 4}
_NOTICE: Final = 5
_DAEMON: Final = 3 << 3
# Not translated.
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


class SystemdJournal:
    """systemd's journal, with a field for each fact (systemd.journal-fields(7), "Native Journal Protocol")."""

    batch = 1

    def __init__(self, settings: NotifySettings) -> None:
        self._path = settings.path or systemd.JOURNAL

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Hand one message to the journal."""
        _send(self._path, record(messages[0].notice))
        return "taken by the journal"


class SyslogSocket:
    """The syslog socket of the system (RFC 3164), with the fields after the text."""

    batch = 1

    def __init__(self, settings: NotifySettings) -> None:
        self._path = settings.path or _SYSLOG

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Hand one message to syslog."""
        _send(self._path, line(messages[0].notice, time.localtime()))
        return "taken by syslog"


def _send(path: str, data: bytes) -> None:
    """Send without blocking. If the reader hangs and its queue is full, delivery is tried again later."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.setblocking(False)
        try:
            one.connect(path)
            one.send(data)
        except BlockingIOError:
            raise Undelivered(f"{path}: its reader is not reading at the moment") from None
        except OSError as e:
            raise Undelivered(f"{path}: {e.strerror or e}") from None


def priority(notice: Notice) -> int:
    """The syslog priority: of the level while the incident lasts, "notice" at its end."""
    return _NOTICE if notice.over or notice.test else _PRIORITIES.get(notice.level, _NOTICE)


def fields(notice: Notice) -> dict[str, str]:
    """The facts of a notice, in English and as plain numbers in every language."""
    found: dict[str, object] = {
        "incident": notice.incident,
        "state": notice.state.value,
        "netns": notice.netns,
        "listener": notice.listener,
        "cause": notice.cause,
        "level": notice.level,
        "because": notice.because,
        "waiting": notice.waiting,
        "peak": notice.peak,
        "unanswered": notice.unanswered,
        "arrivals": notice.arrivals,
        "began": f"{notice.began_s:.3f}",
        "ended": None if notice.ended_s is None else f"{notice.ended_s:.3f}",
        "test": "1" if notice.test else None,
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def record(notice: Notice) -> bytes:
    """The message in the journal's native protocol: a line for each field; no value has a newline in it."""
    head = {
        "MESSAGE": notice.log or notice.title,
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": str(priority(notice)),
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
    }
    named = {f"HALFOPEN_{name.upper()}": value for name, value in fields(notice).items()}
    actions = [("HALFOPEN_ACTION", action) for action in notice.actions]
    return "".join(f"{name}={value}\n" for name, value in [*head.items(), *named.items(), *actions]).encode()


def line(notice: Notice, at: time.struct_time) -> bytes:
    """The message as syslog takes it: `<PRI>Mmm dd hh:mm:ss halfopen[PID]: text name=value …`."""
    month = _MONTHS[3 * at.tm_mon - 3 : 3 * at.tm_mon]
    clock = f"{month} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    facts = " ".join(f"{name}={_quoted(value)}" for name, value in fields(notice).items())
    text = f"{notice.log or notice.title} {facts}"
    return f"<{_DAEMON | priority(notice)}>{clock} {_IDENTIFIER}[{os.getpid()}]: {text}".encode()


def _quoted(value: str) -> str:
    """As in logfmt: a value with a space or a quotation mark is quoted."""
    if " " not in value and '"' not in value:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
