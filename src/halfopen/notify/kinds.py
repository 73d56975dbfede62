"""The registry of receivers: what makes one of each kind, and for how long it is told of an end again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from halfopen.core.sections.notify import NotifySettings
from halfopen.notify.alertmanager import LINGER_S, Alertmanager
from halfopen.notify.by_apprise import Apprise
from halfopen.notify.hook import Hook
from halfopen.notify.local_log import SyslogSocket, SystemdJournal
from halfopen.notify.receiver import Receiver
from halfopen.notify.webhook import Webhook


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """One kind of receiver. make: raises HalfopenError. linger_s: the end of an incident is told again for so long."""

    make: Callable[[NotifySettings], Receiver]
    linger_s: float = 0.0


KINDS: Final[Mapping[str, ReceiverKind]] = {
    "alertmanager": ReceiverKind(Alertmanager, LINGER_S),
    "webhook": ReceiverKind(Webhook),
    "apprise": ReceiverKind(Apprise),
    "journald": ReceiverKind(SystemdJournal),
    "syslog": ReceiverKind(SyslogSocket),
    "command": ReceiverKind(Hook),
}
