"""The parts of the face: each takes parcels of its kinds, and talks to the outside in its own way.

A new part is a class that takes bodies, and an entry in `PARTS`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from halfopen.core.metrics_text import MetricsText
from halfopen.core.notice import ReceiverStanding

METRICS: Final = "metrics"
# The kind of parcels with the text about listeners, which is long and seldom changes.
METRICS_LISTENERS: Final = "metrics-listeners"
NOTIFY: Final = "notify"
WEB: Final = "web"


class FacePart(Protocol):
    """A part of the face."""

    def take(self, body: bytes) -> None:
        """Process a parcel, without blocking. Raises: HalfopenError, which is reported."""

    def told(self) -> list[str]:
        """Troubles since the last call that no `take` raised, a line each."""

    def receivers(self) -> list[ReceiverStanding]:
        """The states of its receivers of notices, if it has any."""

    def close(self) -> None:
        """No more parcels come: end."""


class MetricsPart:
    """Serves the newest text of the metrics at a socket that was opened before."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: `fd`, the number of the listening socket. Raises: HalfopenError."""
        from halfopen.ops.watch.metrics_server import MetricsServer

        self._server = MetricsServer(socket.socket(fileno=int(settings["fd"])))
        self._text = MetricsText(b"")
        self.takes = {METRICS_LISTENERS: self._take_listeners}

    def take(self, body: bytes) -> None:
        self._write(self._text._replace(head=body))

    def _take_listeners(self, body: bytes) -> None:
        self._write(self._text._replace(listeners=body))

    def _write(self, text: MetricsText) -> None:
        self._text = text
        if text.head:
            self._server.write(text)

    def told(self) -> list[str]:
        return []

    def receivers(self) -> list[ReceiverStanding]:
        return []

    def close(self) -> None:
        self._server.close()


def _notify(settings: Mapping[str, Any]) -> FacePart:
    from halfopen.service.notify_part import NotifyPart

    return NotifyPart(settings)


def _web(settings: Mapping[str, Any]) -> FacePart:
    from halfopen.service.web.part import WebPart

    return WebPart(settings)


PARTS: Final[dict[str, Callable[[Mapping[str, Any]], FacePart]]] = {
    METRICS: MetricsPart,
    NOTIFY: _notify,
    WEB: _web,
}
"""What makes each part, from its settings, by the kind of the parcels that it takes."""
