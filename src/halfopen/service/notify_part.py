"""The part of the face that delivers notices to receivers, in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from halfopen.core.notice import ReceiverStanding, decode
from halfopen.core.sections.notify import NotifySettings
from halfopen.linux import threads

_TROUBLES_MOST: Final = 64
# Longer than the delivery goes on after it was told to stop.
_END_S: Final = 3.5


def settings_of(receivers: Sequence[NotifySettings], spool: str) -> dict[str, Any]:
    """The settings of the part. spool: the file of the spool; "": none."""
    return {"receivers": [msgspec.to_builtins(one) for one in receivers], "spool": spool}


class NotifyPart:
    """Takes notices without blocking."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: of `settings_of`. Raises: HalfopenError, ValueError."""
        # Imported here: the eyes use `settings_of`, and must not load code that speaks HTTP.
        from halfopen.notify.delivery import Delivery

        receivers = msgspec.convert(settings["receivers"], list[NotifySettings])
        self._troubles: deque[str] = deque(maxlen=_TROUBLES_MOST)
        self._delivery = Delivery(receivers, str(settings["spool"]), self._troubles.append)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._delivery.run, args=(self._stop,), name="halfopen-tell", daemon=True
        )
        threads.start(self._thread)

    def take(self, body: bytes) -> None:
        """Accept a notice. Raises: HalfopenError if the body is not one."""
        self._delivery.take(decode(body))

    def told(self) -> list[str]:
        """Troubles, and their ends, since the last call: a line each."""
        return [self._troubles.popleft() for _ in range(len(self._troubles))]

    def receivers(self) -> list[ReceiverStanding]:
        """The states of the receivers."""
        return self._delivery.standing()

    def close(self) -> None:
        """No more notices come: deliver what waits, or leave it in the spool."""
        self._stop.set()
        self._thread.join(_END_S)
