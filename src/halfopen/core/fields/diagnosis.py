"""Fields of `diagnose --json`: of a namespace, a finding, a fact, and causes that are ruled out."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.listener import NAMED, NamedListener
from halfopen.core.fields.process import processes
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.diagnosis import Diagnosis, Explained, RuledOut, time_base
from halfopen.core.findings.finding import Fact
from halfopen.core.model.listeners import ListenerView

FACT: Final[tuple[Field[Fact], ...]] = (
    Field("name", "which fact; stable for the `id` of a finding", lambda f: f.name, "string", kind=Kind.LABEL),
    Field("value", "the value", lambda f: f.value, "number or string"),
    Field("limit", "the limit or capacity that the value was held against", lambda f: f.limit, "number or null"),
    Field("unit", "`s`, `per_s`; empty for a count, a ratio or a text", lambda f: f.unit, "string", kind=Kind.LABEL),
    Field(
        "base",
        "what time it refers to: `now` (the last look), `between` (the `seconds` between the looks), "
        "`ever` (since the namespace was made), `ages` (computed from the ages of half-open "
        "connections)",
        lambda f: time_base(f).value,
        "string",
        kind=Kind.LABEL,
    ),
)


def _listening(view: ListenerView) -> NamedListener:
    return view


LISTENER: Final[tuple[Field[ListenerView], ...]] = (
    *(field.of(_listening) for field in NAMED),
    Field(
        "processes",
        "`pid`, `name`, `unit`, `container`, `container_name` of each that holds the socket, as in status",
        lambda v: processes(v.processes),
        "array",
    ),
)


class Told(Struct, frozen=True):
    """A finding with what `present` makes of it: a sentence, and its cures as command lines."""

    one: Explained
    text: str
    cures: tuple[str, ...]


def _facts(facts: tuple[Fact, ...]) -> list[dict[str, Any]]:
    return [json_object(FACT, fact) for fact in facts]


FINDING: Final[tuple[Field[Told], ...]] = (
    Field("id", "which finding; stable: see [findings](#findings)", lambda t: t.one.finding.id, "string"),
    Field("title", "its cause in a few words", lambda t: RULES[t.one.finding.id].title, "string"),
    Field("level", "`ok`, `notice`, `warning` or `critical`", lambda t: t.one.finding.level.name.lower(), "string"),
    Field(
        "confidence",
        "`certain`: the facts show the cause, and each cause that looks the same is ruled out or was "
        "found as well; `likely`: a cause in `rivals` is not ruled out, or there is a `doubt`; "
        "`cannot tell`",
        lambda t: t.one.confidence.value,
        "string",
        kind=Kind.LABEL,
    ),
    Field("rivals", "ids of causes that look the same and are not ruled out", lambda t: list(t.one.rivals), "array"),
    Field("doubt", "what else is in doubt; empty where nothing else is", lambda t: t.one.doubt, "string"),
    Field("text", "the finding in words, with its evidence", lambda t: t.text, "string"),
    Field("facts", "the evidence, see below", lambda t: _facts(t.one.finding.facts), "array"),
    Field("rules_out", "ids of causes that these facts exclude", lambda t: list(t.one.finding.rules_out), "array"),
    Field(
        "listener",
        "the listener concerned with the processes that hold it; null when the finding concerns the namespace",
        lambda t: json_object(LISTENER, t.one.finding.listener) if t.one.finding.listener is not None else None,
        "object or null",
    ),
    Field("cures", "commands that help against this one, the best first", lambda t: list(t.cures), "array of strings"),
)

RULED_OUT: Final[tuple[Field[tuple[RuledOut, str]], ...]] = (
    Field("ids", "ids of the causes", lambda r: list(r[0].ids), "array of strings", kind=Kind.LABEL),
    Field("text", "the facts in words", lambda r: r[1], "string"),
    Field("facts", "the facts that exclude them", lambda r: _facts(r[0].facts), "array"),
)

DIAGNOSIS: Final[tuple[Field[Diagnosis], ...]] = (
    Field(
        "seconds",
        "between the two looks; null where only one was possible",
        lambda d: None if d.seconds is None else round(d.seconds, 3),
        "number or null",
        "s",
    ),
    Field("level", "the worst of the findings", lambda d: d.verdict.level.name.lower(), "string", kind=Kind.LABEL),
    Field("undecided", "ids of causes neither found nor ruled out", lambda d: list(d.undecided), "array of strings"),
    Field(
        "read_by",
        "how it was read: `bpf`, `diag` or `proc`",
        lambda d: d.now.sample.completeness.source,
        "string",
        kind=Kind.LABEL,
    ),
    Field("half_open", "connections half-open at the last look", lambda d: d.now.half_open),
)
