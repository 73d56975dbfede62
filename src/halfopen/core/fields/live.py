"""Fields of the live screen (`top`): the columns of its tables, most of them those of `status` and `history`."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from halfopen.core.fields.field import Field, Kind, chosen
from halfopen.core.fields.history import INCIDENT
from halfopen.core.fields.listener import LISTENER
from halfopen.core.fields.source import SOURCE
from halfopen.core.live import LiveSource
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.moments import Moment
from halfopen.core.model.sources import SourceView
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.readings import subject_text
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.units import show_age


def per_s(rate: float) -> str:
    """A rate in a few characters: `0`, `0.4`, `512`, `1,204`."""
    text = f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:,.0f}"
    return text[:-2] if text.endswith(".0") and text != "0.0" else text


_SPARE: Final = {
    "accept_queue": 1,
    "oldest": 2,
    "process": 3,
    "drops": 4,
    "retransmits": 5,
    "release_time_s": 6,
}

LIVE_LISTENER: Final[tuple[Field[ListenerView], ...]] = tuple(
    replace(field, spare=_SPARE.get(field.name, 0))
    for field in chosen(
        LISTENER,
        *("listener", "half_open", "syn_queue", "accept_queue", "oldest", "retransmits", "drops", "release_time_s"),
        "process",
    )
)
"""A listener, in a row."""


def _source(one: LiveSource) -> SourceView:
    return one.source


def _oldest(one: LiveSource) -> str:
    """As the column of that name of the listeners."""
    return ("≤" if one.aged_s else "") + show_age(one.source.oldest_s + one.aged_s)


def _of_source(field: Field[SourceView]) -> Field[LiveSource]:
    made = field.of(_source)
    return replace(made, show=_oldest) if field.name == "oldest_s" else made


LIVE_SOURCE: Final[tuple[Field[LiveSource], ...]] = (
    *map(_of_source, SOURCE),
    Field(
        "finished_per_s",
        "handshakes from there that finish, a second",
        lambda s: s.finished_per_s,
        unit="per_s",
        title="COMPLETE/S",
        show=lambda s: "-" if s.finished_per_s is None else per_s(s.finished_per_s),
    ),
)
"""A source, in a row."""

# One namespace is shown at a time: its name stands above.
_INCIDENT: Final[dict[str, dict[str, Any]]] = {
    "where": {"show": lambda i: subject_text(i.listener) or "namespace", "words": ("namespace",)},
    "stage": {"title": "STAGE", "kind": Kind.LABEL, "words": tuple(stage.value for stage in AlarmStage)},
    "turned_away": {"spare": 1},
    "id": {"spare": 2},
}

LIVE_INCIDENT: Final[tuple[Field[Incident], ...]] = tuple(
    replace(field, **_INCIDENT.get(field.name, {}))
    for field in chosen(INCIDENT, "where", "stage", "lasted_s", "cause", "peak_half_open", "turned_away", "id")
)
"""An incident that is on, in a row."""

MOMENT: Final[tuple[Field[Moment], ...]] = (
    Field("syns", "SYNs that arrived", lambda m: m.syns, unit="per_s", title="SYNs"),
    Field("finished", "handshakes that finished", lambda m: m.finished, unit="per_s", title="completed"),
    Field("cookies", "SYN cookies sent", lambda m: m.cookies, unit="per_s", title="cookies"),
    Field("drops", "SYNs and handshakes dropped", lambda m: m.drops, unit="per_s", title="drops"),
)
"""Rates a second, each drawn over the last minute."""
