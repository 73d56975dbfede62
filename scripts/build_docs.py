#!/usr/bin/env python3
"""Tables of the documents that are made from registries: `python scripts/build_docs.py` writes them, --check compares.

A table stands between `<!-- made by scripts/build_docs.py: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from halfopen.core.config import WatchSettings
from halfopen.core.fields import (
    advice,
    caches,
    check,
    closing,
    closing_changes,
    closing_seen,
    connection,
    diagnosis,
    features,
    guard,
    handshakes,
    history,
    listener,
    memory,
    metrics,
    namespace,
    process,
    released,
    source,
    tune_listener,
    tuning,
    watch,
)
from halfopen.core.fields.field import Field, Kind
from halfopen.core.findings import rules as rules  # fills the registry
from halfopen.core.findings.diagnosis import at_listeners as at_listeners  # fills the registry of exclusions
from halfopen.core.findings.evidence import ON_DEMAND
from halfopen.core.findings.exclusions import EXCLUSIONS
from halfopen.core.findings.registry import RULES, OnRelease
from halfopen.core.policy.stages import TABLE as STAGES
from halfopen.core.policy.stages import StageTold, Timing
from halfopen.core.sections.notify import KINDS as RECEIVERS
from halfopen.core.sections.option import options, summary
from halfopen.core.units import show_duration

ROOT: Final = Path(__file__).resolve().parents[1]
_TABLE: Final = re.compile(r"(<!-- made by scripts/build_docs\.py: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOCUMENTS: Final = (
    "README.md",
    "docs/commands.md",
    "docs/json.md",
    "docs/verdicts.md",
    "docs/metrics.md",
    "docs/detection.md",
    "docs/closing.md",
    "docs/protect.md",
    "docs/configuration.md",
    "docs/notify.md",
)


def findings() -> str:
    """The ids of findings, their levels and when each is found."""
    lines = ["| Id | Level | Found when |", "| --- | --- | --- |"]
    for rule in RULES.values():
        levels = ", ".join(level.name.lower() for level in sorted(rule.levels))
        lines.append(f"| `{rule.id}` | {levels} | {rule.doc} |")
    return "\n".join(lines)


def names(fields: tuple[Field[Any], ...]) -> str:
    """The names in a JSON object, the types of their values and what they mean."""
    lines = ["| Name | Type | Meaning |", "| --- | --- | --- |"]
    lines += [f"| `{field.name}` | {field.type} | {field.help} |" for field in fields if field.get is not None]
    return "\n".join(lines)


def metric_names(fields: tuple[Field[Any], ...]) -> str:
    """Metrics, their types and what they mean."""
    lines = ["| Metric | Type | Meaning |", "| --- | --- | --- |"]
    for field in fields:
        total = "_total" if field.kind is Kind.COUNTER else ""
        lines.append(f"| `halfopen_{field.name}{total}` | {field.kind.value} | {field.help} |")
    return "\n".join(lines)


_NAMES: Final[dict[str, tuple[Field[Any], ...]]] = {
    "namespace": (*namespace.PLACE, *namespace.NAMESPACE),
    "completeness": namespace.COMPLETENESS,
    "check": check.CHECKED,
    "listener": listener.LISTENER,
    "ages": listener.AGES,
    "process": process.PROCESS,
    "source": source.SOURCE,
    "connection": connection.LIST,
    "closing": (*namespace.PLACE, *closing.CLOSING),
    "closing-group": closing.GROUP,
    "closing-seen": closing_seen.SEEN,
    "closing-destination": closing.DESTINATION,
    "closing-connection": closing.SOCKETS,
    "closing-change": closing_changes.CHANGED,
    "memory": (*namespace.PLACE, *memory.MEMORY),
    "memory-use": memory.USE,
    "memory-process": memory.MEMORY_OF_PROCESS,
    "memory-listener": memory.MEMORY_OF_LISTENER,
    "memory-dropped": caches.DROPPED,
    "advice": (*namespace.PLACE, *advice.ADVICE),
    "advice-listener": advice.LISTENER,
    "advice-choice": advice.CHOICE,
    "advice-room": advice.ROOM,
    "diagnosis": (*namespace.PLACE, *diagnosis.DIAGNOSIS),
    "diagnosis-finding": diagnosis.FINDING,
    "diagnosis-fact": diagnosis.FACT,
    "diagnosis-listener": diagnosis.LISTENER,
    "diagnosis-ruled-out": diagnosis.RULED_OUT,
    "handshakes": handshakes.HANDSHAKES,
    "times": handshakes.TIMES,
    "bucket": handshakes.BUCKET,
    "named": listener.NAMED,
    "release-time": listener.RELEASE_TIME,
    "tune-listener": tune_listener.LISTENER,
    "totals": released.TOTALS,
    "released": released.RELEASED,
    "guard": guard.GUARD,
    "watch-reading": watch.READING,
    "feature": features.FEATURE,
    "grant": features.GRANT,
    "incident": history.INCIDENT,
    "incident-cause": history.CAUSE,
    "incident-fact": history.FACT,
    "incident-releases": history.RELEASES,
    "incident-silences": history.SILENCE,
    "history-watched": history.WATCHED,
    "history-series": history.SERIES,
    "history-slot": history.SLOT,
    "history-changed": history.CHANGED,
    "history-release": history.RELEASED_THEN,
    "setting": tuning.SETTING,
    "summary": tuning.SUMMARY,
    "no-cure": tuning.NO_CURE,
    "override": tuning.OVERRIDE,
    "made": tuning.MADE,
    "undone": tuning.UNDONE,
    "logged": tuning.LOGGED,
}
_METRICS: Final[dict[str, tuple[Field[Any], ...]]] = {
    "namespace-metrics": metrics.NAMESPACE_METRICS,
    "listener-metrics": metrics.LISTENER_METRICS,
    "watch-metrics": metrics.WATCH_METRICS,
}


def verdicts() -> str:
    """The causes: what decides, what rules each out, what looks the same, what to do."""
    lines = [
        "| Id | Cause | Found when | Not when | Looks the same | What to do |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rule in RULES.values():
        if not rule.note and ON_DEMAND.isdisjoint(rule.needs):
            rivals = EXCLUSIONS[rule.id].rivals if rule.id in EXCLUSIONS else ()
            alike = ", ".join(f"`{id}`" for id in rivals)
            lines.append(f"| `{rule.id}` | {rule.title} | {rule.doc} | {rule.unless} | {alike} | {rule.advice} |")
    return "\n".join(lines)


def closing_causes() -> str:
    """The causes about open and closing connections."""
    lines = ["| Id | Cause | Found when | Not when | What to do |", "| --- | --- | --- | --- | --- |"]
    for rule in RULES.values():
        if not ON_DEMAND.isdisjoint(rule.needs):
            lines.append(f"| `{rule.id}` | {rule.title} | {rule.doc} | {rule.unless} | {rule.advice} |")
    return "\n".join(lines)


def causes() -> str:
    """The usual causes, for the README."""
    lines = ["| Cause | Id | What to do |", "| --- | --- | --- |"]
    for rule in RULES.values():
        if not (rule.note or rule.rare):
            lines.append(f"| {rule.title[0].upper()}{rule.title[1:]} | `{rule.id}` | {rule.advice} |")
    return "\n".join(lines)


def stages() -> str:
    """The stages of an alarm as a diagram, an arrow for each way that leads to another stage."""
    ways: dict[tuple[str, str, str], list[str]] = {}
    for (stage, signal), move in STAGES.items():
        if move.to is not stage:
            after = f" for {show_duration(getattr(Timing(), move.after))}" if move.after else ""
            told = f" ({move.told.value.upper()})" if move.told is not StageTold.NOTHING else ""
            ways.setdefault((stage.value, move.to.value, after + told), []).append(signal.name.lower())
    arrows = [f"    {old} --> {new}: {' or '.join(signals)}{more}" for (old, new, more), signals in ways.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> quiet", *arrows, "```"])


def configuration() -> str:
    """Every key of the configuration file, by section."""
    return "\n\n".join(_sections(WatchSettings, "", False))


def _sections(kind: type, name: str, several: bool) -> Iterator[str]:
    rows = [one for one in options(kind).values() if one.section is None]
    title = f"### `[[{name}]]`" if several else f"### `[{name}]`" if name else "### At the top of the file"
    lines = [title, "", f"{summary(kind).rstrip('.')}." if name else "", ""] if name else [title, ""]
    lines += ["| Key | Default | Value | Meaning |", "| --- | --- | --- | --- |"]
    for one in rows:
        default = "needed" if one.needed else "not set" if one.default is None else f"`{one.written(one.default)}`"
        lines.append(f"| `{one.key}` | {default} | {one.what}{', *restart*' * one.restart} | {one.help} |")
    yield "\n".join(lines)
    for key, one in options(kind).items():
        if one.section is not None:
            yield from _sections(one.section, f"{name}.{key}" if name else key, one.several)


def receivers() -> str:
    """The kinds of receivers, and the keys that only some of them have."""
    lines = ["| `kind` | A message becomes | Keys of its own | Repeated | At most |", "| --- | --- | --- | --- | --- |"]
    for name, kind in RECEIVERS.items():
        needs = " or ".join(f"`{key}`" for key in kind.needs)
        keys = ", ".join(f"`{key}`" for key in kind.keys) + (f"; needs {needs}" if needs else "")
        repeated = f"every {show_duration(kind.repeat_s)}" if kind.repeat_s else "never"
        lines.append(f"| `{name}` | {kind.doc} | {keys} | {repeated} | {kind.per_minute} a minute |")
    return "\n".join(lines)


def releasing_causes() -> str:
    """The causes that are a reason for a release, and those that forbid one."""
    found = {
        stance: ", ".join(f"`{rule.id}`" for rule in RULES.values() if rule.on_release is stance)
        for stance in OnRelease
    }
    lines = ["| A policy may name | No policy releases anything with |", "| --- | --- |"]
    return "\n".join([*lines, f"| {found[OnRelease.REASON]} | {found[OnRelease.FORBIDS]} |"])


TABLES: Final[dict[str, Callable[[], str]]] = {
    "findings": findings,
    "verdicts": verdicts,
    "causes": causes,
    "closing-causes": closing_causes,
    "stages": stages,
    "configuration": configuration,
    "receivers": receivers,
    "releasing-causes": releasing_causes,
    **{name: partial(names, fields) for name, fields in _NAMES.items()},
    **{name: partial(metric_names, fields) for name, fields in _METRICS.items()},
}


def made(text: str) -> str:
    """A document with its tables made anew."""
    return _TABLE.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text)


def main(check: bool) -> int:
    """Write the documents, or name those that would change."""
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if made(text) == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(made(text), encoding="utf-8")
    if check and stale:
        print(f"not as the registry has it: {', '.join(stale)}; run python scripts/build_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
