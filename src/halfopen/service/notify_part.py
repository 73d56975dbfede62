"""The part of the face that tells receivers of incidents: the delivery, in a thread of its own."""

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
# Longer than the delivery takes for its last words.
_END_S: Final = 3.5


def settings_of(receivers: Sequence[NotifySettings], spool: str) -> dict[str, Any]:
    """What the part needs to begin. spool: the file that keeps what is not told; "" for none."""
    return {"receivers": [msgspec.to_builtins(one) for one in receivers], "spool": spool}


class NotifyPart:
    """Takes notices, and never makes whoever hands them in wait."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: of `settings_of`. Raises: HalfopenError, ValueError."""
        # Here: the eyes use `settings_of`, and what speaks HTTP has no place in their process.
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
        """Take a notice. Raises: HalfopenError where the body is none."""
        self._delivery.take(decode(body))

    def told(self) -> list[str]:
        """What went wrong, and right again, since the last call: a line each."""
        return [self._troubles.popleft() for _ in range(len(self._troubles))]

    def receivers(self) -> list[ReceiverStanding]:
        """How the receivers do."""
        return self._delivery.standing()

    def close(self) -> None:
        """Nothing comes any more: what is not told yet is told now, or stays in the spool."""
        self._stop.set()
        self._thread.join(_END_S)
