"""Two looks at a namespace where there is something to judge: what finishes between them tells more than either."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.evidence import SOME
from halfopen.core.model.columns import Builder
from halfopen.core.model.model import Model, build
from halfopen.linux.netns import Netns
from halfopen.read import procfs, reader, requests

# Between the two looks; long enough for a handshake across an ocean.
INTERVAL_S: Final = 0.5
# Where a reading takes longer than this, only the counters are read again.
_SLOW_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Looks:
    """What a namespace looks like, and what it looked like before. interval_s: between the two; None: one look only."""

    now: Model
    before: Model | None = None
    interval_s: float | None = None


def worth_another(model: Model) -> bool:
    """Whether there is anything that a second look could judge."""
    return model.half_open >= SOME or any(view.accept_queue or view.deferred for view in model.listeners)


def looks(read: Callable[[], Sequence[Model]], *, way: str = "auto", instant: bool = False) -> list[Looks]:
    """The first look at some namespaces, by `read`, and a second one at those where it is worth it.

    way: as for `reader.read`. instant: no second look. A namespace that vanished meanwhile is judged by the first.
    Raises: as `read`.
    """
    began = time.monotonic()
    first = list(read())
    took_s = (time.monotonic() - began) / max(len(first), 1)
    if instant or not any(map(worth_another, first)):
        return [Looks(model) for model in first]
    newest = max(model.sample.monotonic_s for model in first)
    time.sleep(max(0.0, newest + INTERVAL_S - time.monotonic()))
    return [_again(model, way, took_s) if worth_another(model) else Looks(model) for model in first]


def _again(model: Model, way: str, took_s: float) -> Looks:
    sample = model.sample
    ns = Netns(sample.where.name, sample.where.inode, sample.where.path, sample.where.lives_in)
    builder = Builder()
    try:
        if took_s > _SLOW_S:
            return _counters(model, ns)
        fresh = reader.read(ns, [requests.probe(builder)], way=way, with_owners=False)
    except HalfopenError:
        return Looks(model)  # gone meanwhile
    if np.array_equal(fresh.listeners["inode"], sample.listeners["inode"]):
        kept = replace(fresh.completeness, notes=sample.completeness.notes)
        fresh = replace(fresh, owners=sample.owners, options=sample.options, completeness=kept)
    now = build(fresh, sample, columns=builder.take())
    return Looks(now, model, fresh.monotonic_s - sample.monotonic_s)


def _counters(model: Model, ns: Netns) -> Looks:
    """The first look with the rates that the counters tell, from its end until now."""
    counted = time.monotonic()
    before = ns.run(procfs.counters)
    time.sleep(INTERVAL_S)
    counters = ns.run(procfs.counters)
    seconds = time.monotonic() - counted
    rates = {name: (value - before[name]) / seconds for name, value in counters.items() if name in before}
    return Looks(replace(model, rates=rates), None, seconds)
