"""Which connections a release means, and why a policy decided on it, in the language that is spoken.

Histories and the audit log keep the English words of `Filter.describe` and of policies; each has its pattern here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from halfopen.core.filters import Filter
from halfopen.core.units import printable
from halfopen.present.findings.words import in_units
from halfopen.present.language import tr

CONDITIONS: Final = (
    "older than {age}",
    "with at least {n} retransmits",
    "on {place}",
    "from {share} of a SYN queue on",
    "from {place}",
    "all",
    # Words about policies, in the lines of `watch`.
    "during an incident",
    "during {causes}",
    "in a SYN queue more than {share} full",
    "at most {n}/s",
    "never clients of the last {time}",
    "never {who}",
    "always",
)
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(words))), words) for words in CONDITIONS
)


# As `core.policy.deciding` and `core.policy.guard_deciding` write them.
_BY_AGE: Final = re.compile(r"watch: (?P<n>\d+) (?P<chosen>.+)")
_BY_POLICY: Final = re.compile(r"policy (?P<name>[^:]+): (?P<words>.+) at (?P<place>\S+|port \d+)")
_FULL: Final = re.compile(r"SYN queue (?P<share>\d+%) full")
_SOME: Final = re.compile(r"(?P<n>\d+) (?P<chosen>\D.*)")


def chosen(filter: Filter) -> str:
    """The filter in words."""
    return rephrased(filter.describe())


def rephrased(described: str) -> str:
    """The words of `Filter.describe` as the language has them; a condition that is none of them as it is."""
    return tr(", ").join(map(_condition, described.split(", ")))


def _condition(text: str) -> str:
    for pattern, words in _PATTERNS:
        if (match := pattern.fullmatch(text)) is not None:
            return tr(words, **{name: in_units(value) for name, value in match.groupdict().items()})
    return text


def reworded(reason: str) -> str:
    """The reason that a policy gave, as the language has it; one that a person wrote, as it is."""
    reason = printable(reason)
    if (match := _BY_AGE.fullmatch(reason)) is not None:
        return tr("watch: {n} {chosen}", n=match["n"], chosen=rephrased(match["chosen"]))
    if reason == "policy protect: always":
        return tr("policy protect: always")
    if (match := _BY_POLICY.fullmatch(reason)) is None:
        return reason
    return tr("policy {name}: {reason}", name=match["name"], reason=_decided(match))


def why_guarded(reason: str) -> str:
    """The reason of a guard's policy, without its name."""
    match = _BY_POLICY.fullmatch(reason)
    return printable(reason.partition(": ")[2]) if match is None else _decided(match)


def _decided(match: re.Match[str]) -> str:
    place = match["place"]
    if place.startswith("port "):
        place = tr("port {port}", port=place.removeprefix("port "))
    return tr("{reasons} at {place}", reasons=tr(", ").join(_reasons(match["words"].split(", "))), place=place)


def _reasons(words: list[str]) -> Iterator[str]:
    for place, one in enumerate(words):
        if (match := _FULL.fullmatch(one)) is not None:
            yield tr("SYN queue {share} full", share=match["share"])
        elif (match := _SOME.fullmatch(one)) is not None:
            # The conditions of the filter are the rest.
            yield tr("{n} {chosen}", n=match["n"], chosen=rephrased(", ".join((match["chosen"], *words[place + 1 :]))))
            return
        else:
            yield one
