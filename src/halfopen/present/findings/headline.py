"""The first line of a verdict: the worst thing, or how many half-open connections there are, and where."""

from __future__ import annotations

import re
from typing import Final

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.present.findings.words import lasted, listener_name
from halfopen.present.language import listed, tr, tr_n

# What is not known comes first only where hardly any connection is half-open.
_UNDECIDED: Final = "cannot-tell"
_SOME: Final = 5


def headline(model: Model, verdict: Verdict | None = None) -> str:
    """The sentence of the first line: what the worst finding says in brief, where half-open connections are not the
    trouble; else how many there are.
    """
    worst = None if verdict is None else leading(model, verdict)
    text = counted(model) if worst is None else _brief(worst)
    where = model.sample.where
    if where.lives_in and where.name != "self" and not re.search(rf"\b{re.escape(where.lives_in)}\b", text):
        if worst is not None:
            return tr("{text} ({place})", text=text, place=where.lives_in)
        text = tr("{text} in {place}", text=text, place=where.lives_in)
    return text


def _brief(finding: Finding) -> str:
    from halfopen.present.findings.sentences import LEADS

    return LEADS[finding.id](finding)[0]


def leading(model: Model, verdict: Verdict) -> Finding | None:
    """The finding that the first line is about; None where it counts half-open connections.

    A mere notice does not come before connections that are half-open.
    """
    if not verdict.findings:
        return None
    # Rules and sentences take long to load, and an idle host needs none.
    from halfopen.core.findings.all_rules import is_note
    from halfopen.present.findings.sentences import LEADS

    worst = next((f for f in verdict.findings if f.id in LEADS or not is_note(f)), None)
    if worst is None or worst.id not in LEADS or (model.half_open and worst.level < Level.WARNING):
        return None
    if worst.id == _UNDECIDED and (model.half_open >= _SOME or worst.level < Level.WARNING):
        return None
    return worst


def counted(model: Model) -> str:
    """How many half-open connections there are, and where."""
    text = tr_n("{n:,} half-open connection", "{n:,} half-open connections", model.half_open)
    if not model.half_open:
        return text
    aged_s = max((view.aged_s for view in model.listeners), default=0.0)
    if aged_s:
        time = lasted(round(model.oldest_s + aged_s))
        text = tr("{text}, the oldest at most {time}{where}", text=text, time=time, where=_where(model))
    else:
        text = tr("{text}, the oldest {time}{where}", text=text, time=lasted(model.oldest_s), where=_where(model))
    if model.may_have_answered == model.half_open:
        return listed([text, tr("they may have answered")])
    if model.may_have_answered:
        return listed([text, tr("{n:,} of them may have answered", n=model.may_have_answered)])
    return text


def _where(model: Model) -> str:
    busy = [v for v in model.listeners if v.half_open]
    if not busy:
        return ""
    at = listener_name(busy[0])
    if len(busy) == 1 and busy[0].half_open == model.half_open:
        return tr(", all on {at}", at=at)
    return tr(", {n:,} of them on {at}", n=busy[0].half_open, at=at)
