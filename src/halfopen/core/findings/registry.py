"""The registry of rules: a rule is a function from the evidence to hits, with the id of the cause it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from halfopen.core.findings.finding import Finding, Hit, Level

if TYPE_CHECKING:
    from halfopen.core.findings.evidence import Evidence, Need

Judge = Callable[["Evidence"], Iterator[Hit]]


class OnRelease(Enum):
    """What a cause says of releasing half-open connections where it is found: it is the reason for one; it forbids one,
    because they are of clients that get in once the cause is gone; or neither.
    """

    REASON = "reason"
    FORBIDS = "forbids"
    NOTHING = ""


class Rule(Struct, frozen=True):
    """A rule: its stable id, the levels it can yield, what it needs to judge; and for the documents its cause in a few
    words, when it is found, what rules it out, and what to do.

    fallback: asked only when no other rule found a cause. fills: it explains a full queue; where only causes that do
    not are found beside one, the fallback is asked as well. note: it says something about the reading or about
    connections that are no trouble, and explains nothing; note_below: so do its findings below that level. rare: left
    out of the README's table of causes. on_release: what it says to the release policies of `watch`.
    """

    id: str
    levels: tuple[Level, ...]
    judge: Judge
    title: str
    doc: str
    unless: str = ""
    advice: str = ""
    needs: tuple[Need, ...] = ()
    fallback: bool = False
    note: bool = False
    rare: bool = False
    on_release: OnRelease = OnRelease.NOTHING
    note_below: Level | None = None
    fills: bool = True


RULES: dict[str, Rule] = {}


def rule(
    id: str,
    *levels: Level,
    title: str,
    doc: str,
    unless: str = "",
    advice: str = "",
    needs: tuple[Need, ...] = (),
    fallback: bool = False,
    note: bool = False,
    rare: bool = False,
    on_release: OnRelease = OnRelease.NOTHING,
    note_below: Level | None = None,
    fills: bool = True,
) -> Callable[[Judge], Judge]:
    """Register the decorated function as the rule of this id. Raises: ValueError when the id is taken."""

    def register(judge: Judge) -> Judge:
        if id in RULES:
            raise ValueError(f"two rules have the id {id!r}")
        texts = title, doc, unless, advice
        RULES[id] = Rule(id, levels, judge, *texts, needs, fallback, note, rare, on_release, note_below, fills)
        return judge

    return register


def is_note(finding: Finding) -> bool:
    """Whether a finding explains nothing: it is about the reading, or about connections that are no trouble."""
    rule = RULES[finding.id]
    return rule.note or (rule.note_below is not None and finding.level < rule.note_below)
