"""The JSON document of `status`, and a verdict as JSON: names and units that stay. docs/json.md describes them."""

from __future__ import annotations

from typing import Any

from halfopen.core.fields.closing_seen import SEEN
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import NAMESPACE, PLACE
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say


def _namespace(model: Model, verdict: Verdict, closing: ClosingSeen) -> dict[str, Any]:
    place = json_object(PLACE, model.sample.where)
    return {**place, "verdict": json_verdict(verdict), **json_object(NAMESPACE, model), "closing": _closing(closing)}


def _closing(seen: ClosingSeen) -> dict[str, Any]:
    verdict = None if seen.verdict is None else json_verdict(seen.verdict)
    return {**json_object(SEEN, seen.glance), "verdict": verdict}


def _reason(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "level": finding.level.name.lower(),
        "text": say(finding),
        "facts": [
            {"name": fact.name, "value": fact.value, "limit": fact.limit, "unit": fact.unit} for fact in finding.facts
        ],
        "rules_out": list(finding.rules_out),
    }


def json_verdict(verdict: Verdict) -> dict[str, Any]:
    """A verdict as an object: `level`, `reasons` and `next`."""
    return {
        "level": verdict.level.name.lower(),
        "reasons": [_reason(f) for f in verdict.findings],
        "next": next_commands(verdict),
    }


def status(
    models: list[Model], verdicts: list[Verdict], skipped: list[str], closing: list[ClosingSeen]
) -> dict[str, Any]:
    """`halfopen.status/1` for one or more namespaces; the verdict is the worst of them. closing: of each in turn."""
    worst = max(verdicts, key=lambda v: v.level)
    first = models[0].sample
    return {
        "schema": "halfopen.status/1",
        "time": first.wall_s,
        "host": first.host.name,
        "kernel": first.host.kernel,
        "verdict": json_verdict(worst),
        "namespaces": [_namespace(*one) for one in zip(models, verdicts, closing, strict=True)],
        "skipped": skipped,
    }
