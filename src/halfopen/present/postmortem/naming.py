"""The names of an incident: its title, its place, its cause."""

from __future__ import annotations

from halfopen.core.findings.registry import RULES
from halfopen.core.postmortem import IncidentStory
from halfopen.core.units import listener_text, printable
from halfopen.present.language import tr


def title(told: IncidentStory) -> str:
    """`SYN flood from forged addresses at :8080`."""
    return tr("{cause} at {place}", cause=cause_title(told.incident.cause), place=place(told))


def place(told: IncidentStory) -> str:
    """The listener, or the namespace where it concerns that."""
    one = told.incident
    where = printable(one.where.name)
    if one.at is None:
        return tr("this machine") if one.where.name == "self" else tr("the network namespace {name}", name=where)
    name = listener_text(one.at[1], one.at[2])
    return name if one.where.name == "self" else f"{name} ({where})"


def cause_title(id: str) -> str:
    """The cause in a few words."""
    rule = RULES.get(id)
    if rule is None or rule.fallback:
        return tr("Half-open connections")
    words = tr(rule.title).replace("`", "")
    return words[:1].upper() + words[1:]


def named_cause(id: str) -> str:
    """The title of a cause, with its id."""
    rule = RULES.get(id)
    return tr("none of the known ones explains it") if rule is None else f"{tr(rule.title).replace('`', '')} ({id})"


def value_words(value: int | None) -> str:
    """The value of a setting as text; None: not set."""
    return tr("not set") if value is None else str(value)


def end_s(told: IncidentStory) -> float:
    """When the incident ended, or, while it is on, until when it is known; since 1970."""
    one = told.incident
    return one.ended_s if one.ended_s is not None else one.began_s + one.lasted_s
