"""Whose way back is worth reading: clients that ask again, as they hear nothing."""

from __future__ import annotations

from typing import Final

import numpy as np

from halfopen.core.addresses import AF_INET6
from halfopen.core.findings.lasting import asked_again
from halfopen.core.findings.sources import SOME, numbers_of
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.prefixes import Numbers, is_v4
from halfopen.core.sample.ways import AskedWay, WayBack, WaysBack
from halfopen.core.units import address_text

# Each is a question to the kernel.
_MOST: Final = 4


def wanted(model: Model) -> tuple[AskedWay, ...]:
    """The client that asks again most at each listener where several do, of a few listeners."""
    columns = model.columns
    if columns is None or len(columns.v4) < SOME:
        return ()
    again = asked_again(model, columns) & ~model.is_deferred
    if np.count_nonzero(again) < SOME:
        return ()
    numbers, found = numbers_of(columns), []
    for place, view in enumerate(model.views):
        mine = numbers[again & (columns.group_of == place)]
        if len(mine) >= SOME:
            found.append(_asked(model, view, mine))
    return tuple(found[:_MOST])


def _asked(model: Model, view: ListenerView, numbers: Numbers) -> AskedWay:
    values, counts = np.unique(numbers, return_counts=True)
    first = int(np.argmax(counts))
    number, v4 = int(values[first]), bool(is_v4(values)[first])
    if model.arrived is None:
        return AskedWay(v4, number, bound=view.ifindex)
    rows = model.arrived.sources
    rows = rows[(rows["number"] == number) & (rows["port"] == view.port) & (rows["ifindex"] > 0)]
    if not len(rows):
        return AskedWay(v4, number, bound=view.ifindex)
    local = int(rows["local_high"][0]) << 64 | int(rows["local_low"][0])
    return AskedWay(
        v4, number, address_text(AF_INET6, local.to_bytes(16, "big")), view.ifindex, int(rows["ifindex"][0])
    )


def way_of(model: Model, numbers: Numbers) -> WayBack | None:
    """The way back to one of the clients numbers (N,); None where none of theirs was read."""
    part = model.sample.part(WaysBack)
    for way in part.ways if part is not None else ():
        if np.any(numbers == way.number):
            return way
    return None
