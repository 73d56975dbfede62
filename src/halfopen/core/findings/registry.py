"""The registry of rules: a rule is a function from the evidence to hits, with the id of the cause it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Hit, Level

Judge = Callable[[Evidence], Iterator[Hit]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its stable id, the levels it can yield, when it yields (for the documents), what it needs to judge."""

    id: str
    levels: tuple[Level, ...]
    doc: str
    needs: tuple[Need, ...]
    judge: Judge


RULES: dict[str, Rule] = {}


def rule(id: str, *levels: Level, doc: str, needs: tuple[Need, ...] = ()) -> Callable[[Judge], Judge]:
    """Register the decorated function as the rule of this id. Raises: ValueError when the id is taken."""

    def register(judge: Judge) -> Judge:
        if id in RULES:
            raise ValueError(f"two rules have the id {id!r}")
        RULES[id] = Rule(id, levels, doc, needs, judge)
        return judge

    return register
