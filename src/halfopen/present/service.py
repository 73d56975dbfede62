"""How the service is, for a person."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from halfopen.core.fields.history import clock
from halfopen.core.units import printable, show_bytes
from halfopen.present.findings.words import lasted
from halfopen.present.language import cell_width, spoken, tr, tr_n

_TITLE: Final = 10
# The beginning of the line that systemd gets too, which stays English (`service.running`).
_LEVEL: Final = re.compile(r"(OK|NOTICE|WARNING|CRITICAL): (.+)")
_COUNTED: Final = re.compile(
    r"([\d,]+) (half-open connections?|alarms?|namespaces? could not be read)(?: in ([\d,]+) .+)?"
)
_SPACED: Final = re.compile(r"readings spaced out to ([\d.]+) s \(max_cpu\)")


def health_lines(answer: Mapping[str, Any], path: str, incidents: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The lines for an answer to `health` that came from the socket at `path`, and for the incidents that are on."""
    with spoken():
        return [
            _line(tr("State"), _state(printable(str(answer["status"])))),
            *(incident_line(one) for one in incidents),
            _line(tr("Service"), _service(answer)),
            _line(tr("Readings"), _readings(answer)),
            _line(tr("Face"), _face(answer["face"])),
            *(_receiver(one) for one in answer.get("receivers", ())),
            *(_line(tr("Silence"), f"{one['name']} {_held_back(one)}") for one in answer.get("silences", ())),
            _line(tr("Socket"), path),
        ]


def incident_line(one: Mapping[str, Any]) -> str:
    """The line of an incident that is on, as in halfopen.history/1: where, for how long, why, and who holds it back."""
    with spoken():
        where = f":{one['port']}" if one.get("port") else tr("the network namespace")
        stage, time_s = tr(str(one["stage"])), lasted(round(float(one["lasted_s"])))
        line = f"{one['id']}  {tr('{stage} at {where} for {time}', stage=stage, where=where, time=time_s)}"
        cause = one["causes"][-1]["id"] if one["causes"] else ""
        line += tr(": {cause}", cause=cause) if cause else ""
        on = [silence for silence in one["silences"] if silence["until"] is None or silence["until"] > time.time()]
        return _line(tr("Incident"), tr("; ").join([line, *map(_held_back, on[-1:])]))


def answered_by(pid: object, age_s: float) -> str:
    """Who answered what was just shown."""
    with spoken():
        ago = tr(", {n:.1f} s ago", n=age_s) if age_s >= 1 else ""
        return tr("answered by the halfopen service (pid {pid}){ago}; --direct reads the kernel", pid=pid, ago=ago)


def _line(title: str, text: str) -> str:
    return printable(f"{title}{' ' * max(1, _TITLE - cell_width(title))}{text}")


def _state(status: str) -> str:
    """The state as the language has it; in English, as it is."""
    if (match := _LEVEL.fullmatch(status)) is None:
        return tr("reading for the first time") if status == "reading for the first time" else status
    return tr("{level}: {text}", level=tr(match[1]), text=tr(", ").join(map(_part, match[2].split(", "))))


def _part(text: str) -> str:
    if (match := _SPACED.fullmatch(text)) is not None:
        return tr("readings spaced out to {n} s (max_cpu)", n=match[1])
    if (match := _COUNTED.fullmatch(text)) is None:
        return tr("releases only observed") if text == "releases only observed" else text
    n, what = int(match[1].replace(",", "")), match[2]
    if what.startswith("alarm"):
        return tr_n("{n:,} alarm", "{n:,} alarms", n)
    if what.startswith("namespace"):
        return tr_n("{n:,} namespace could not be read", "{n:,} namespaces could not be read", n)
    said = tr_n("{n:,} half-open connection", "{n:,} half-open connections", n)
    if match[3] is None:
        return said
    many = int(match[3].replace(",", ""))
    return said + tr_n(" in {n:,} network namespace", " in {n:,} network namespaces", many)


def _service(answer: Mapping[str, Any]) -> str:
    acts = tr("releases by its configuration") if answer["releases"] else tr("releases nothing")
    up = lasted(round(max(0.0, time.time() - float(answer["began"]))))
    said = {"version": answer["version"], "pid": answer["pid"], "time": up, "where": _watched(answer), "acts": acts}
    return tr("halfopen {version}, pid {pid}, for {time}; watches {where}, {acts}", **said)


def _watched(answer: Mapping[str, Any]) -> str:
    if answer["everywhere"]:
        return tr("every network namespace")
    name = printable(str(answer.get("netns", "self")))
    return tr("its own network namespace") if name == "self" else tr("the network namespace {name}", name=name)


def _readings(answer: Mapping[str, Any]) -> str:
    apart = lasted(float(answer["spacing_s"]))
    line = tr_n("{n:,} reading, {time} apart", "{n:,} readings, {time} apart", int(answer["readings"]), time=apart)
    if answer["last_reading_s"] is not None:
        line += tr(", the last {time} ago", time=lasted(round(float(answer["last_reading_s"]), 1)))
    if answer["cpu_share"] is not None:
        share = f"{float(answer['cpu_share']):.2%}"
        line += tr("; {share} of a processor, with everything", share=share)
    return line


def _face(face: Mapping[str, Any]) -> str:
    line = f"pid {face['pid']}, {show_bytes(face['memory_bytes'])}" if face["pid"] else tr("is being started")
    replaced = tr_n("replaced {n:,} time", "replaced {n:,} times", int(face["restarts"]))
    dropped = tr_n("{n:,} message dropped", "{n:,} messages dropped", int(face["dropped"]))
    return tr(", ").join((line, replaced, dropped))


def _held_back(silence: Mapping[str, Any]) -> str:
    """What holds alarms back: `silenced until 11-26 04:30:00 by alice: known`."""
    if silence["until"] is None:
        line = tr("acknowledged by {who}", who=silence["by"])
    else:
        line = tr("silenced until {time} by {who}", time=clock(silence["until"]), who=silence["by"])
    return line + (tr(": {cause}", cause=silence["reason"]) if silence["reason"] else "")


def _receiver(one: Mapping[str, Any]) -> str:
    """The line of a receiver of alarms."""
    kind = "" if one["kind"] == one["name"] else f" ({one['kind']})"
    n, waiting, dropped = int(one["delivered"]), int(one["waiting"]), int(one["dropped"])
    line = tr_n("{name}: {n:,} message delivered", "{name}: {n:,} messages delivered", n, name=one["name"] + kind)
    if waiting:
        line += tr_n(", {n:,} incident waiting", ", {n:,} incidents waiting", waiting)
    if dropped:
        line += tr_n(", {n:,} incident dropped", ", {n:,} incidents dropped", dropped)
    return _line(tr("Alarms"), line + (tr("; {what}", what=one["trouble"]) if one["trouble"] else ""))
