"""JSON documents: names and units that stay. docs/json.md describes them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from halfopen.core.fields import COUNTERS
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Released
from halfopen.core.sample import Process, Sample
from halfopen.core.units import json_text
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say


def dumps(document: Any) -> str:
    """A document for people to read and programs to parse."""
    return json_text(json.dumps(document, ensure_ascii=False, indent=2))


def _process(process: Process) -> dict[str, Any]:
    return {"pid": process.pid, "name": process.name, "unit": process.unit, "container": process.container}


def _listener(view: ListenerView) -> dict[str, Any]:
    return {
        "address": view.address,
        "port": view.port,
        "family": "ipv6" if view.family == 10 else "ipv4",
        "ifindex": view.ifindex,
        "members": view.members,
        "process": _process(view.processes[0]) if view.processes else None,
        "processes": [_process(p) for p in view.processes],
        "half_open": view.half_open,
        "may_have_answered": view.may_have_answered,
        "deferred": view.deferred,
        "young": view.young,
        "retransmits": list(view.retransmits),
        "syn_queue": view.syn_queue,
        "syn_queue_young": view.syn_queue_young,
        "syn_queue_limit": view.syn_queue_limit,
        "accept_queue": view.accept_queue,
        "accept_queue_limit": view.accept_queue_limit,
        "drops": view.drops,
        "synack_retries": view.retries,
        "synack_retries_overridden": view.overridden,
        "defer_accept_s": view.defer_accept_s,
        "release_time_s": view.release_time_s,
        "effective_release_time_s": view.effective_release_time_s,
        "age_s": {name: round(value, 3) for name, value in asdict(view.ages).items()},
    }


def _namespace(model: Model, verdict: Verdict) -> dict[str, Any]:
    sample = model.sample
    return {
        "netns": sample.where.name,
        "netns_inode": sample.where.inode,
        "lives_in": sample.where.lives_in or None,
        "verdict": _verdict(verdict),
        "half_open": model.half_open,
        "may_have_answered": model.may_have_answered,
        "deferred": model.deferred,
        "full_syn_recv": model.full,
        "orphans": model.orphans,
        "oldest_s": round(model.oldest_s, 3),
        "arrivals_per_s": model.arrivals_per_s,
        "release_time_s": model.release_time_s,
        "settings": dict(sample.settings),
        "counters": {name: sample.counters[name] for name in COUNTERS if name in sample.counters},
        "completeness": {
            "source": sample.completeness.source,
            "whole": sample.completeness.whole,
            "interrupted": sample.completeness.interrupted,
            "problems": list(sample.completeness.problems),
            "notes": list(sample.completeness.notes),
            "ages_from": _ages_from(sample),
        },
        "listeners": [_listener(view) for view in model.listeners],
        "distinct_sources": model.distinct_sources,
        "sources": [
            {"prefix": s.prefix, "half_open": s.half_open, "share": round(s.share, 4), "oldest_s": round(s.oldest_s, 3)}
            for s in model.sources
        ],
    }


def _ages_from(sample: Sample) -> str:
    if sample.columns is not None and sample.columns.exact:
        return "synack"
    asked = sample.timeouts is not None or (sample.columns is not None and sample.columns.timeouts)
    return "timeouts" if asked else "retransmits"


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


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "level": verdict.level.name.lower(),
        "reasons": [_reason(f) for f in verdict.findings],
        "next": next_commands(verdict),
    }


def status(models: list[Model], verdicts: list[Verdict], skipped: list[str]) -> dict[str, Any]:
    """`halfopen.status/1` for one or more namespaces; the verdict is the worst of them."""
    worst = max(verdicts, key=lambda v: v.level)
    first = models[0].sample
    return {
        "schema": "halfopen.status/1",
        "time": first.wall_s,
        "host": first.host.name,
        "kernel": first.host.kernel,
        "verdict": _verdict(worst),
        "namespaces": [_namespace(m, v) for m, v in zip(models, verdicts, strict=True)],
        "skipped": skipped,
    }


def release(outcomes: list[Released]) -> dict[str, Any]:
    """`halfopen.release/1`: totals, and the namespaces they come from. `resets` is null when it could not be read."""
    resets = [o.resets for o in outcomes]
    return {
        "schema": "halfopen.release/1",
        "matched": sum(o.matched for o in outcomes),
        "released": sum(o.released for o in outcomes),
        "gone": sum(o.gone for o in outcomes),
        "failed": sum(o.failed for o in outcomes),
        "resets": None if None in resets else sum(r for r in resets if r is not None),
        "left": sum(o.left for o in outcomes),
        "spared": sum(o.spared for o in outcomes),
        "may_have_answered": sum(o.may_have_answered for o in outcomes),
        "dry_run": any(o.dry_run for o in outcomes),
        "filter": outcomes[0].action.filter.describe() if outcomes else "",
        "namespaces": [o.as_record() for o in outcomes],
    }
