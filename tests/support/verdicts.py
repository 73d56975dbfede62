"""Verdicts on made-up Samples."""

from __future__ import annotations

from typing import Any

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import Model, build
from rows import listener, request, sample


def many(n: int, **values: Any) -> list[Any]:
    """n requests from n addresses."""
    return [request(f"198.18.{i % 250}.{i // 250 + 1}", source_port=1024 + i, cookie=i + 1, **values) for i in range(n)]


def model_of(requests: list[Any], *listeners: Any, **values: Any) -> Model:
    """A Model of these requests, at a listener with a long queue where none is given."""
    return build(sample(requests, list(listeners) or [listener(limit=100_000)], **values))


def verdict_of(requests: list[Any], *listeners: Any, **values: Any) -> tuple[Verdict, list[str]]:
    """The verdict, and the ids of its findings, the worst first."""
    verdict = judge(model_of(requests, *listeners, **values))
    return verdict, [f.id for f in verdict.findings]
