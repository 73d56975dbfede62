"""The first line of a verdict: how many half-open connections there are, and where."""

from __future__ import annotations

from halfopen.core.model.model import Model
from halfopen.core.units import plural, show_duration
from halfopen.present.findings.sentences import listener_name


def headline(model: Model) -> str:
    """The sentence of the first line."""
    text = plural(model.half_open, "half-open connection")
    if model.half_open:
        text += f", the oldest {show_duration(model.oldest_s)}"
        text += _where(model)
        if model.may_have_answered:
            everyone = model.may_have_answered == model.half_open
            text += f"; {'they' if everyone else f'{model.may_have_answered:,} of them'} may have answered"
    where = model.sample.where
    if where.lives_in and where.name != "self":
        text += f" in {where.lives_in}"
    return text


def _where(model: Model) -> str:
    busy = [v for v in model.listeners if v.half_open]
    if len(busy) == 1 and busy[0].half_open == model.half_open:
        return f", all on {listener_name(busy[0])}"
    return f", {busy[0].half_open:,} of them on {listener_name(busy[0])}" if busy else ""
