"""A change in one row, as it is shown: planned, made or undone."""

from __future__ import annotations

from msgspec import Struct

from halfopen.core.tune.spots import ListeningSocket


class ChangeRow(Struct, frozen=True):
    """One change that was or would be made, or undone. from_: before, to: after (None: not set).

    id: in the journal, None without. listener, file: where it is not a setting of the namespace. cost: what is worse
    afterwards. where: the namespace for a person, where `netns` does not say it.
    """

    key: str
    from_: int | None
    to: int | None
    state: str
    reason: str = ""
    why: str = ""
    id: int | None = None
    netns: str = ""
    listener: ListeningSocket | None = None
    file: str | None = None
    cost: str = ""
    where: str = ""

    @property
    def changed(self) -> bool:
        """Whether the value is another one now."""
        return self.state in ("done", "clamped", "undone")
