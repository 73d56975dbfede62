"""The action that changes nothing: to look."""

from __future__ import annotations

from msgspec import Struct


class Look(Struct, frozen=True):
    """Read or measure something: `halfopen COMMAND` in a namespace. It changes nothing, so there is nothing to undo.

    as_root: it is to show what was hidden for lack of a privilege.
    """

    netns: str
    command: str
    reason: str
    as_root: bool = False
