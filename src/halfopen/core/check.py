"""What a check comes to, in the words of the monitoring-plugin protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import UsageError
from halfopen.core.fields.check import CHECKED, CheckedValues
from halfopen.core.findings.all_rules import is_note
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.ranges import AlertRange, alert_range


class CheckState(IntEnum):
    """The exit code of a check; `name` is the word of its line."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


# A worse state hides a better one.
_RISING: Final = (CheckState.OK, CheckState.UNKNOWN, CheckState.WARNING, CheckState.CRITICAL)
_OF_LEVEL: Final = {Level.WARNING: CheckState.WARNING, Level.CRITICAL: CheckState.CRITICAL}


def causes(verdict: Verdict) -> list[Finding]:
    """What is wrong, the worst first; not what the verdict notes about the reading itself, which is a matter of what
    could be read.
    """
    return [finding for finding in verdict.findings if not is_note(finding)]


def level(verdict: Verdict) -> Level:
    """How bad it is."""
    return max((finding.level for finding in causes(verdict)), default=Level.OK)


class Thresholds(Struct, frozen=True):
    """Ranges by the name of a value (`CHECKED`). Without any, the verdict decides."""

    warning: Mapping[str, AlertRange] = field(default_factory=dict)
    critical: Mapping[str, AlertRange] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.warning or self.critical)


class CheckOutcome(Struct, frozen=True):
    """state, and the thresholds that decided it: the name of each value and its range."""

    state: CheckState
    crossed: tuple[tuple[str, AlertRange], ...] = ()


def ranges(words: Iterable[str], *, what: str) -> dict[str, AlertRange]:
    """The ranges of words as `NAME=RANGE`, or RANGE for half_open. Raises: UsageError."""
    known = [one.name for one in CHECKED]
    found: dict[str, AlertRange] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            name, text = known[0], word
        if name not in known:
            raise UsageError(f"{what} {word!r}: there is no value {name!r}", hint=f"give one of {', '.join(known)}")
        if name in found:
            raise UsageError(f"{what} is given twice for {name}", hint="give one range for each value")
        found[name] = alert_range(text, what=what)
    return found


def outcome(values: CheckedValues, thresholds: Thresholds, levels: Iterable[Level], whole: bool) -> CheckOutcome:
    """What the values come to by the thresholds, or the levels of the verdicts where there are none; whole: everything
    could be read.
    """
    states, crossed = [CheckState.OK], []
    if not whole:
        states.append(CheckState.UNKNOWN)
    if not thresholds.any:
        states += [_OF_LEVEL.get(level, CheckState.OK) for level in levels]
    for state, ranges in ((CheckState.CRITICAL, thresholds.critical), (CheckState.WARNING, thresholds.warning)):
        for one in CHECKED:
            if (asked := ranges.get(one.name)) is None or one.get is None:
                continue
            value = one.get(values)
            if value is None:
                states.append(CheckState.UNKNOWN)
            elif asked.tells(value):
                states.append(state)
                crossed.append((one.name, asked))
    names: dict[str, AlertRange] = {}
    for name, asked in crossed:  # where both ranges of a value tell, the critical one comes first
        names.setdefault(name, asked)
    return CheckOutcome(max(states, key=_RISING.index), tuple(names.items()))
