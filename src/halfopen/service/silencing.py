"""Requests to silence known alarms, made into actions."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from typing import Final

from halfopen.core.errors import UnknownTarget, UsageError
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.silence import Silence
from halfopen.core.units import endpoint, listener_text
from halfopen.linux import state
from halfopen.service.requests import AskAcknowledge, AskSilence

_PART_LEAST: Final = 4


def file_path() -> str:
    """The file with the silences, in the service's state directory."""
    return os.path.join(state.state_directory(), "silences.json")


def user(uid: int) -> str:
    """The name of a user, or the uid if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def named(text: str) -> str:
    """The name of a silence from a user's text: `443` is `:443`; otherwise the text is an id, or a part of one."""
    try:
        address, port = endpoint(text)
    except UsageError:
        return text
    return listener_text("0.0.0.0" if address is None else str(address), port)


def wanted(request: AskAcknowledge | AskSilence, on: Sequence[Incident], by: str, now_s: float) -> Silence:
    """The silence of a request. on: the open incidents. by: who asked. now_s: since 1970.

    Raises: UnknownTarget for an incident that is not open, UsageError.
    """
    until_s = None if request.for_s is None else now_s + request.for_s
    if isinstance(request, AskSilence):
        address, port = endpoint(request.listener)
        place = None if address is None or address.is_unspecified else str(address), port
        return Silence(listener_text(place[0] or "0.0.0.0", port), now_s, by, request.reason, until_s, place)
    return Silence(_found(request.incident, on).id, now_s, by, request.reason, until_s)


def _found(part: str, on: Sequence[Incident]) -> Incident:
    found = [one for one in on if one.id == part]
    if not found and len(part) >= _PART_LEAST:
        found = [one for one in on if one.id.startswith(part) or one.id.endswith(part)]
    if len(found) == 1:
        return found[0]
    names = " and ".join(one.id for one in found[:2])
    raise UnknownTarget(
        f"{part!r} is part of several ids: {names}" if found else f"there is no open incident {part!r}",
        hint="give more of it" if found else "halfopen service status shows the open ones",
    )
