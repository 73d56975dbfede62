"""The work of `history`: finds the file, queries it in short transactions, and puts the answer together."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final

from halfopen.core.errors import UsageError
from halfopen.core.flight import FlightEntry
from halfopen.core.history import HistoryAnswer, ReleaseSeen, Tier
from halfopen.core.policy.incidents import Incident
from halfopen.core.units import duration_s, endpoint
from halfopen.linux import state
from halfopen.store import flights
from halfopen.store.database import ENVIRONMENT, HistoryPlace
from halfopen.store.reader import History, HistoryWanted

OF_SERVICE: Final = f"{state.STATE_OF_SERVICE}/history/"
# A chart has two hundred columns at most, and each slot is a row to read.
_SLOTS_MOST: Final = 3600


def place_of(file: str | None) -> HistoryPlace:
    """The place of the given FILE or DIR; else the service's if it can be read, else the user's own."""
    if file is not None:
        return HistoryPlace.of(file)
    service = HistoryPlace.of(os.environ.get(ENVIRONMENT) or OF_SERVICE)
    if os.access(service.file, os.R_OK):
        return service
    return HistoryPlace.of(f"{state.directory(state.STATE_OF_ROOT)}/history/")


def moment_s(text: str, now_s: float, *, what: str) -> float:
    """Seconds since 1970 of `1h` (ago), `2026-11-26T00:45`, `00:45` (today) or `now`, in local time. Raises:
    UsageError.
    """
    words = text.strip()
    if words == "now":
        return now_s
    if ":" in words or "-" in words:
        try:
            today = datetime.fromtimestamp(now_s).date().isoformat()
            return datetime.fromisoformat(words if "-" in words else f"{today}T{words}").timestamp()
        except (ValueError, OverflowError, OSError):
            pass
    else:
        return now_s - duration_s(words, what=what)
    raise UsageError(f"{what} {text!r} is not a time", hint="write it as 1h, 2026-11-26T00:45 or 00:45")


def wanted_of(
    since: str, until: str | None, netns: str | None, listeners: tuple[str, ...], now_s: float
) -> HistoryWanted:
    """The query that arguments of the command line mean. Raises: UsageError."""
    since_s = moment_s(since, now_s, what="--since")
    until_s = now_s if until is None else moment_s(until, now_s, what="--until")
    if not since_s < until_s:
        raise UsageError("--since is not before --until", hint="give --since 2h --until 1h, for instance")
    places = tuple(
        (None if address is None or address.is_unspecified else str(address), port)
        for address, port in map(endpoint, listeners)
    )
    return HistoryWanted(since_s, until_s, None if netns in (None, "all") else netns, places)


def told(
    history: History,
    wanted: HistoryWanted,
    now_s: float,
    narrowed: str = "",
    *,
    everything: bool = True,
    listeners: bool = True,
) -> HistoryAnswer:
    """What history holds for the time asked for. everything: values, settings and releases, not only incidents.
    listeners: the values of listeners, not only of namespaces.
    """
    found = history.incidents(wanted)
    tier = history.tier(wanted.since_s, wanted.until_s, _SLOTS_MOST) if everything else Tier.HOURS
    return HistoryAnswer(
        wanted.since_s,
        wanted.until_s,
        now_s,
        tier.step_s,
        tuple(one for one in found if one.alarm_s is not None),
        tuple(one for one in found if one.alarm_s is None),
        tuple(history.series(wanted, tier, listeners=listeners)) if everything else (),
        tuple(history.spans(wanted)),
        tuple(history.settings(wanted)) if everything else (),
        tuple(history.releases(wanted)) if everything else (),
        narrowed,
    )


def releases_of(history: History, one: Incident) -> list[ReleaseSeen]:
    """The releases during an incident, one by one."""
    until_s = one.ended_s if one.ended_s is not None else one.began_s + one.lasted_s
    # Wider than the incident: the clock may have been set, and a release ends after the reading that led to it.
    wanted = HistoryWanted(one.began_s - 1, max(until_s, one.began_s + one.lasted_s) + 60)
    return history.releases(wanted, one.id)


def kept_record(place: HistoryPlace, one: Incident) -> str:
    """A sentence that names the flight record of an incident; empty where there is none."""
    if not flights.has(place.flights, one.id):
        return ""
    return f"The readings around it are recorded: {flights.path_of(place.flights, one.id)}"


def record_of(place: HistoryPlace, id: str) -> tuple[Incident, list[FlightEntry], str]:
    """An incident by its id or a part of it, the entries of its flight record, and what is wrong with the record's end.

    Raises: UnknownTarget, UsageError, HalfopenError "history", NotPermitted.
    """
    with History(place) as kept:
        one = kept.incident(id)
    return one, *flights.read(place.flights, one.id)


def relative_s(text: str, began_s: float) -> float:
    """Seconds since 1970: `+5s` and `-10s` count from the incident's first sign, a time is as in `moment_s`.

    Raises: UsageError.
    """
    if text[:1] in ("+", "-"):
        seconds = duration_s(text[1:], what="--at")
        return began_s - seconds if text[0] == "-" else began_s + seconds
    if ":" not in text:
        raise UsageError(f"--at {text!r} is not a time", hint="write it as 00:45:12, +5s or -10s")
    return moment_s(text, began_s, what="--at")
