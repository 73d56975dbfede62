"""The first line of a verdict: the worst thing, or how many half-open connections there are, and where."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.registry import RULES
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.units import plural, show_duration
from halfopen.present.findings.words import LEADS, listener_name


def headline(model: Model, verdict: Verdict | None = None) -> str:
    """The sentence of the first line: what the worst finding says in brief, where half-open connections are not the
    trouble; else how many there are.
    """
    worst = None if verdict is None else leading(model, verdict)
    text = counted(model) if worst is None else LEADS[worst.id](worst)[0]
    where = model.sample.where
    if where.lives_in and where.name != "self":
        text += f" in {where.lives_in}"
    return text


def leading(model: Model, verdict: Verdict) -> Finding | None:
    """The finding that the first line is about; None where it counts half-open connections.

    A mere notice does not come before connections that are half-open.
    """
    worst = next((f for f in verdict.findings if f.id in LEADS or not RULES[f.id].note), None)
    if worst is None or worst.id not in LEADS or (model.half_open and worst.level < Level.WARNING):
        return None
    return worst


def counted(model: Model) -> str:
    """How many half-open connections there are, and where."""
    text = plural(model.half_open, "half-open connection")
    if model.half_open:
        text += f", the oldest {show_duration(model.oldest_s)}"
        text += _where(model)
        if model.may_have_answered:
            everyone = model.may_have_answered == model.half_open
            text += f"; {'they' if everyone else f'{model.may_have_answered:,} of them'} may have answered"
    return text


def _where(model: Model) -> str:
    busy = [v for v in model.listeners if v.half_open]
    if len(busy) == 1 and busy[0].half_open == model.half_open:
        return f", all on {listener_name(busy[0])}"
    return f", {busy[0].half_open:,} of them on {listener_name(busy[0])}" if busy else ""
