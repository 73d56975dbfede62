"""The text of the metrics of a watch, as it goes to where it is wanted. Imports nothing: the face loads it."""

from __future__ import annotations

from typing import NamedTuple


class MetricsText(NamedTuple):
    """The text of all metrics in two parts. listeners: those of each listener, the very same object as in the text
    before where nothing of them changed: a thousand listeners are a megabyte.
    """

    head: bytes
    listeners: bytes = b""

    @property
    def whole(self) -> bytes:
        """The text."""
        return b"".join(self)
