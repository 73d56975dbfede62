"""What would help, as actions: each is data that `present` turns into a command and a service could carry out."""

from __future__ import annotations

from dataclasses import dataclass

from halfopen.core.policy.actions import Release


@dataclass(frozen=True, slots=True)
class ChangeSetting:
    """Set a setting, by full name (net.ipv4.tcp_syncookies), in a namespace."""

    netns: str
    key: str
    value: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeListener:
    """Set the backlog of a listener that is running, or the seconds after which it gives up (None: as it is)."""

    netns: str
    address: str
    port: int
    backlog: int | None = None
    release_time_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Look closer, by the halfopen command of this name. Changes nothing. everywhere: at no namespace in particular."""

    netns: str
    command: str
    everywhere: bool = False


Action = Release | ChangeSetting | ChangeListener | Look
# Actions that only help together, in the order in which they are carried out.
Cure = tuple[Action, ...]
