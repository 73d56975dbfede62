"""What would help, as actions of the one currency (`core.policy.actions`), and what only a person can look at."""

from __future__ import annotations

from dataclasses import dataclass

from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Release


@dataclass(frozen=True, slots=True)
class LookAtProcess:
    """Look at a process that does not accept: where it waits. Changes nothing."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class LookAtRoute:
    """Look at the route back to a client. Changes nothing."""

    netns: str
    address: str
    reason: str


CureStep = Release | ChangeSetting | ChangeListener | Look | LookAtProcess | LookAtRoute
# Actions that only help together, in the order in which they are carried out.
Cure = tuple[CureStep, ...]
