"""Listeners of which nothing changed since the reading before: their views need not be made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.model import join
from halfopen.core.model.columns import Columns
from halfopen.core.model.distinct import distinct
from halfopen.core.model.listeners import ListenerView
from halfopen.core.sample import Sample


def all_unchanged(sample: Sample, old: Sample) -> bool:
    """Whether a Sample of depths took over everything that a Model is made of, but the counters, from an older one."""
    return (
        sample.listeners is old.listeners
        and sample.queues is old.queues
        and sample.depths
        and old.depths
        and sample.owners is old.owners
        and sample.options is old.options
        and sample.completeness == old.completeness
        and sample.settings == old.settings
    )


def unchanged(sample: Sample, columns: Columns, old: Sample, views: Sequence[ListenerView]) -> dict[int, ListenerView]:
    """Group → its view, of the groups that look as in the Sample before; views: of that one, in join order.

    Readings of every request and of depths alone show a listener alike on which nothing waits.
    """
    groups = columns.groups
    if sample.queues is None or old.queues is None:
        return {}
    alike = (
        len(sample.listeners) == len(old.listeners)
        and sample.settings == old.settings
        and sample.owners is old.owners
        and sample.options is old.options
        and sample.completeness.source == old.completeness.source
    )
    if not alike or len(views) != len(groups):
        return {}
    if any((sample.listeners[name] != old.listeners[name]).any() for name in (*join.IDENTITY, "inode")):
        return {}
    changed = _differ(sample.listeners, old.listeners) | _differ(sample.queues, old.queues)
    turned_away = old.counters.get("ListenDrops")
    if turned_away is not None and sample.counters.get("ListenDrops") != turned_away:
        # Of these, as many drops are shown as the namespace has.
        changed |= sample.listeners["drops"] > turned_away
    kept = dict(enumerate(views))
    if changed.any():
        rows = set(np.flatnonzero(changed).tolist())
        kept = {i: views[i] for i, group in enumerate(groups) if rows.isdisjoint(group.rows)}
    if sample.depths and old.depths:
        return kept
    waiting = set(distinct(columns.group_of).tolist())
    return {i: view for i, view in kept.items() if i not in waiting and not (view.held or view.half_open)}


def kept_if_alike(rows: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
    """n records (n,), or those of the reading before, the very array, where they are the same."""
    if rows is before or len(rows) != len(before) or _differ(rows, before).any():
        return rows
    return before


def _differ(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of n records differ from the others in their place (n,)."""
    size = rows.dtype.itemsize
    differ: NDArray[np.bool_] = (_octets(rows, size) != _octets(others, size)).any(axis=1)
    return differ


def _octets(rows: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Structured rows (N,) as bytes, (N, size)."""
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), size)
