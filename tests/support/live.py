"""Namespaces as a live screen shows them, made up for tests."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from halfopen.core.findings.verdict import judge
from halfopen.core.live import Live, LiveNamespace, LiveSource
from halfopen.core.model.model import Model, build
from halfopen.core.model.moments import Moment
from halfopen.core.policy.incidents import CauseFound, Incident, Peak
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.sample import ListenerOptions, Process
from halfopen.present.screen.styled import StyledLine
from rows import listener, named, sample
from verdicts import silent

KEY = (2, "0.0.0.0", 8080, 0)


def shown(lines: list[StyledLine]) -> str:
    """Lines as text: what is reversed stands between «», so that bars are seen."""
    made = []
    for line in lines:
        made.append("".join(f"«{text}»" if "reverse" in style else text for text, style in line).rstrip())
    return "\n".join(made) + "\n"


def minute(n: int = 40) -> tuple[Moment, ...]:
    """A flood that began: SYNs rise, then the queue is full and SYNs are dropped."""
    return tuple(
        Moment(float(i), min(12 * i, 300), 12.0 * i, i > 20, 5.0 + i % 3, 0.0, 0.0 if i < 30 else 4.0 * (i - 30))
        for i in range(n)
    )


def flooded(**values: Any) -> Model:
    """A namespace with a nearly full listener, an idle one, and one whose accept queue is full."""
    rows = [
        listener(port=8080, inode=1, limit=320, drops=44),
        listener(port=443, inode=2, limit=128),
        listener("192.0.2.7", 9000, inode=3, limit=16, accept_queue=17),
    ]
    owners = {1: (Process(4711, "web", "web.service"),), 2: (Process(80, "nginx"), Process(81, "nginx"))}
    options = {inode: ListenerOptions() for inode in (1, 2, 3)}
    return build(sample(silent(300), rows, owners=owners, options=options, counters={"ListenDrops": 44}, **values))


def incident(model: Model) -> Incident:
    """An incident that is on at :8080."""
    return Incident(
        "20260101T000000Z-abcdef",
        model.sample.where,
        KEY,
        1e9 - 95,
        AlarmStage.INCIDENT,
        alarm_s=1e9 - 90,
        lasted_s=95.0,
        turned_away=44,
        peak=Peak(300, 0.94, 12.0),
        causes=(CauseFound(1e9 - 90, "spoofed-flood", "warning"),),
    )


def space(model: Model | None = None, **values: Any) -> LiveNamespace:
    """It as the screen keeps it."""
    model = flooded() if model is None else model
    sources = tuple(LiveSource(one, 2.5 if not i else None) for i, one in enumerate(model.sources))
    made = LiveNamespace(model.bare(), judge(model), (incident(model),), model.bare(), minute(), sources)
    return replace(made, **values)


def live(*spaces: LiveNamespace, **values: Any) -> Live:
    """What a watch keeps of these; of one flooded namespace where none is given."""
    return Live(spaces or (space(),), 1e9, **values)


def calm(name: str) -> LiveNamespace:
    """A namespace of that name where nothing waits."""
    model = build(sample([], [listener(port=22, inode=9)], where=named(name)))
    return space(model, incidents=(), minute=minute(2))
