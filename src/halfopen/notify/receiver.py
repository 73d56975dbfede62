"""The protocol of a receiver: it accepts messages, or says why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from halfopen.core.notice import Notice


class Message(Struct, frozen=True):
    """An incident as it stands, and (before) as the receiver was told last; None: it was told nothing yet.

    id: the same for every try to deliver the same news, so that a receiver can recognise a repetition.
    """

    id: str
    notice: Notice
    before: Notice | None = None


class Receiver(Protocol):
    """One receiver. Its methods are called by one thread at a time, and may block."""

    batch: int
    """How many messages one call takes."""

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Deliver 1 to `batch` messages within about `within_s` seconds. Returns the answer in a few words.

        Raises: HalfopenError (Undelivered if the receiver rejected them or did not answer). No text contains a secret.
        """
