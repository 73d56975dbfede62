"""The line of `check`: the state, a sentence, and the performance data behind a bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from halfopen.core.check import CheckOutcome, CheckState, Thresholds, causes, level
from halfopen.core.fields.check import CHECKED, CheckedValues
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.units import printable
from halfopen.present.findings.headline import headline, leading
from halfopen.present.findings.sentences import say
from halfopen.present.language import aloud, listed, tr, tr_n
from halfopen.present.told import told as _told

_NAME: Final = "HALFOPEN"
# A monitoring system shows a line, and cuts one that is too long.
_PROBLEMS_MOST: Final = 3


def line(state: CheckState, text: str, performance: str = "") -> str:
    """One line; a bar ends the text, so that it has none, nor anything that a terminal obeys."""
    said = printable(" ".join(text.split())).replace("|", "/")
    return f"{_NAME} {state.name} - {said}" + (f" | {performance}" if performance else "")


@aloud
def told(
    found: Sequence[tuple[Model, Verdict, ClosingSeen]],
    values: CheckedValues,
    outcome: CheckOutcome,
    skipped: Sequence[str],
) -> str:
    """The sentence about namespaces: the worst of them, what crossed a threshold, and what could not be read."""
    model, verdict, closing = max(found, key=lambda one: (max(level(one[1]), one[2].level), one[0].half_open))
    parts = [_verdict(model, verdict)]
    if closing.level >= Level.WARNING and closing.model is not None and closing.verdict is not None:
        from halfopen.present import closing as _closing  # hardly a host has such trouble

        # The worse of the two comes first.
        parts.insert(int(level(verdict) >= closing.level), _closing.headline(closing.model, closing.verdict))
    if len(found) > 1:
        parts[0] += tr(
            " ({name}, the worst of {namespaces})",
            name=model.sample.where.name,
            namespaces=tr_n("{n:,} namespace", "{n:,} namespaces", len(found)),
        )
    # Nothing that is wrong, but what a healthy line would hide.
    parts += [say(one) for one in verdict.findings if one.id == "dropped-by-rules"]
    by_name = {one.name: one for one in CHECKED}
    for name, asked in outcome.crossed:
        get = by_name[name].get
        parts.append(
            tr(
                "{name} is {more} (told at {text})",
                name=name,
                more=_number(get(values) if get else None),
                text=asked.text,
            )
        )
    problems = [_told(problem) for one, _, _ in found for problem in one.sample.completeness.problems]
    problems = [*dict.fromkeys(problems), *(tr("not read: {one}", one=_told(one)) for one in skipped)]
    parts += problems[:_PROBLEMS_MOST]
    if len(problems) > _PROBLEMS_MOST:
        parts.append(tr("and {more:,} more", more=len(problems) - _PROBLEMS_MOST))
    return listed(parts)


def _verdict(model: Model, verdict: Verdict) -> str:
    text, found = headline(model, verdict), causes(verdict)
    if level(verdict) < Level.WARNING or leading(model, verdict) is not None:
        return text
    return tr("{text}: {cause}", text=text, cause=say(found[0]))


def performance(values: CheckedValues, thresholds: Thresholds) -> str:
    """`label=value[unit];[warning];[critical];[least];` of every value, with U for one that could not be read."""
    words = []
    for one in CHECKED:
        value = None if one.get is None else one.get(values)
        ends = [
            ranges[one.name].text if one.name in ranges else "" for ranges in (thresholds.warning, thresholds.critical)
        ]
        unit = one.unit if value is not None else ""
        words.append(f"{one.name}={_number(value)}{unit};{';'.join(ends)};0")
    return " ".join(words)


def _number(value: float | None) -> str:
    """Never with an exponent; U where it is not known."""
    return "U" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
