"""Fields of a reading in `watch --json`."""

from __future__ import annotations

from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, chosen
from halfopen.core.fields.namespace import NAMESPACE
from halfopen.core.model.model import Model

_RATES: Final = ("ListenDrops", "ListenOverflows", "SyncookiesSent", "TCPReqQFullDrop")


def _rates(model: Model) -> dict[str, float]:
    rates = model.rates or {}
    return {name: round(rates[name], 3) for name in _RATES if name in rates}


def _unless_depths(model: Model, value: Any) -> Any:
    return None if model.sample.depths else value


READING: Final[tuple[Field[Model], ...]] = (
    Field("netns", "network namespace", lambda m: m.sample.where.name, "string", kind=Kind.LABEL),
    *chosen(NAMESPACE, "half_open", "may_have_answered", "deferred"),
    Field(
        "oldest_s",
        "age of the oldest; null when only depths were read",
        lambda m: _unless_depths(m, round(m.oldest_s, 3)),
        "number or null",
        "s",
    ),
    Field(
        "arrivals_per_s",
        "connections younger than 1 s; null when only depths were read",
        lambda m: _unless_depths(m, m.arrivals_per_s),
        "number or null",
    ),
    Field(
        "depths",
        "true when the number is the depth of the SYN queues and not every request was read",
        lambda m: m.sample.depths,
        "boolean",
    ),
    Field(
        "accept_queue",
        "finished connections waiting in all accept queues",
        lambda m: sum(view.accept_queue for view in m.listeners),
    ),
    Field(
        "rates_per_s",
        "`ListenDrops`, `ListenOverflows`, `SyncookiesSent`, `TCPReqQFullDrop` a second; empty at the first reading",
        _rates,
        "object",
    ),
    Field("whole", "true when nothing is known to be missing", lambda m: m.sample.completeness.whole, "boolean"),
)
