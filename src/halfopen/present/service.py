"""How the service is, for a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from halfopen.core.fields.history import clock
from halfopen.core.units import plural, printable, show_bytes, show_duration


def health_lines(answer: Mapping[str, Any], path: str, incidents: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The lines for an answer to `health` that came from the socket at `path`, and for the incidents that are on."""
    face, began = answer["face"], float(answer["began"])
    up_s = max(0.0, time.time() - began)
    where = "every network namespace" if answer["everywhere"] else "its own network namespace"
    acts = "releases by its configuration" if answer["releases"] else "releases nothing"
    reading = f"{plural(answer['readings'], 'reading')}, {show_duration(float(answer['spacing_s']))} apart"
    if answer["last_reading_s"] is not None:
        reading += f", the last {show_duration(round(float(answer['last_reading_s']), 1))} ago"
    facing = f"pid {face['pid']}, {show_bytes(face['memory_bytes'])}" if face["pid"] else "is being started"
    if answer["cpu_share"] is not None:
        reading += f"; {float(answer['cpu_share']):.2%} of a processor, with everything"
    lost = f"replaced {plural(face['restarts'], 'time')}, {plural(face['dropped'], 'message')} dropped"
    return [
        f"State     {printable(str(answer['status']))}",
        *map(incident_line, incidents),
        f"Service   halfopen {answer['version']}, pid {answer['pid']}, for {show_duration(round(up_s))}; watches "
        f"{where}, {acts}",
        f"Readings  {reading}",
        f"Face      {facing}, {lost}",
        *map(_receiver, answer.get("receivers", ())),
        *map(_silence, answer.get("silences", ())),
        f"Socket    {path}",
    ]


def incident_line(one: Mapping[str, Any]) -> str:
    """The line of an incident that is on, as in halfopen.history/1: where, for how long, why, and who holds it back."""
    where = f":{one['port']}" if one.get("port") else "the network namespace"
    cause = one["causes"][-1]["id"] if one["causes"] else ""
    line = f"Incident  {one['id']}  {one['stage']} at {where} for {show_duration(round(float(one['lasted_s'])))}"
    line += f": {cause}" if cause else ""
    silences = [silence for silence in one["silences"] if silence["until"] is None or silence["until"] > time.time()]
    return printable(f"{line}; {_held_back(silences[-1])}" if silences else line)


def _held_back(silence: Mapping[str, Any]) -> str:
    """What holds alarms back: `silenced until 11-26 04:30:00 by alice: known`."""
    until = "" if silence["until"] is None else f" until {clock(silence['until'])}"
    word = "silenced" if until else "acknowledged"
    return f"{word}{until} by {silence['by']}" + (f": {silence['reason']}" if silence["reason"] else "")


def _silence(silence: Mapping[str, Any]) -> str:
    """The line of a silence that is in force."""
    return printable(f"Silence   {silence['name']} {_held_back(silence)}")


def _receiver(one: Mapping[str, Any]) -> str:
    """The line of a receiver of alarms."""
    kind = "" if one["kind"] == one["name"] else f" ({one['kind']})"
    line = f"Alarms    {one['name']}{kind}: {plural(int(one['delivered']), 'message')} delivered"
    if one["waiting"]:
        line += f", {plural(int(one['waiting']), 'incident')} waiting"
    if one["dropped"]:
        line += f", {plural(int(one['dropped']), 'incident')} dropped"
    return line + (f"; {printable(str(one['trouble']))}" if one["trouble"] else "")
