"""JSON documents: names and units that stay. docs/json.md describes them."""

from __future__ import annotations

import json
from typing import Any

from halfopen.core.fields.released import TOTALS, released
from halfopen.core.policy.actions import Released
from halfopen.core.units import json_text


def dumps(found: Any) -> str:
    """A document for people to read and programs to parse."""
    return json_text(json.dumps(found, ensure_ascii=False, indent=2))


def release(outcomes: list[Released]) -> dict[str, Any]:
    """`halfopen.release/1`: totals, and the namespaces they come from. `resets` is null when it could not be read."""
    each = [released(outcome) for outcome in outcomes]
    return {
        "schema": "halfopen.release/1",
        **{field.name: _total([one[field.name] for one in each]) for field in TOTALS},
        "filter": outcomes[0].action.filter.describe() if outcomes else "",
        "namespaces": each,
    }


def _total(values: list[int | bool | None]) -> int | bool | None:
    """The sum of numbers, null with one of them; whether any is true."""
    if None in values:
        return None
    return any(values) if all(isinstance(v, bool) for v in values) else sum(v for v in values if v is not None)
