"""Whose route back is worth reading: clients that retransmit their SYN because they receive nothing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6
from halfopen.core.findings.lasting import asked_again
from halfopen.core.findings.sources import SOME, numbers_of
from halfopen.core.model.arrived import are_in
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.prefixes import Numbers, is_v4
from halfopen.core.sample.arrivals import SOURCE
from halfopen.core.sample.ways import AskedWay, WayBack, WaysBack
from halfopen.core.units import address_text

# Each address costs a request to the kernel.
_MOST: Final = 4


def wanted(model: Model) -> tuple[AskedWay, ...]:
    """For a few listeners at which several clients retransmit their SYN, the client that does so most; and, where SYNs
    are dropped, a few sources whose SYNs leave nothing behind.
    """
    return (*_that_ask_again(model), *_turned_away(model))[:_MOST]


def _turned_away(model: Model) -> list[AskedWay]:
    """Where SYNs are dropped: the sources that sent most SYNs and finished no handshake."""
    rates, arrived = model.rates or {}, model.arrived
    dropped = rates.get("ListenDrops", 0.0) - rates.get("ListenOverflows", 0.0)
    if arrived is None or dropped * arrived.all.seconds < SOME:
        return []
    # Of an IPv6 network some may wait, or have answered, since before the route was lost; none finishes.
    rows = arrived.sources[(arrived.sources["syns"] > 0) & (arrived.sources["ifindex"] > 0)]
    rows = rows[rows["finished"] == 0]
    first = rows[np.argsort(-rows["syns"].astype(np.int64), kind="stable")[:_MOST]]
    return [_by(row, bool(row["is_v4"]), 0) for row in first]


def unheeded(model: Model) -> NDArray[Any]:
    """The sources whose SYNs leave nothing behind, neither a request nor a connection, rows (N,) SOURCE; none where
    packets were not counted."""
    arrived, columns = model.arrived, model.columns
    if arrived is None or not arrived.packets:
        return np.empty(0, dtype=SOURCE)
    rows = arrived.sources[(arrived.sources["syns"] > 0) & (arrived.sources["ifindex"] > 0)]
    rows = rows[(rows["finished"] == 0) & (rows["acks"] == 0)]
    if columns is not None and len(columns.v4):
        rows = rows[~are_in(rows["number"], numbers_of(columns))]
    found: NDArray[Any] = rows
    return found


def _that_ask_again(model: Model) -> tuple[AskedWay, ...]:
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
    return _by(rows[0], v4, view.ifindex)


def _by(row: Any, v4: bool, bound: int) -> AskedWay:
    """A source by its row of what arrived."""
    local = int(row["local_high"]) << 64 | int(row["local_low"])
    text = address_text(AF_INET6, local.to_bytes(16, "big"))
    return AskedWay(v4, int(row["number"]), text, bound, int(row["ifindex"]))


def no_ways(model: Model) -> list[WayBack]:
    """The ways back that were read of sources whose SYNs leave nothing behind, where most of them lead nowhere."""
    part, asked = model.sample.part(WaysBack), {one.number for one in _turned_away(model)}
    ways = [way for way in part.ways if way.number in asked] if part is not None else []
    none = [way for way in ways if way.error]
    return none if len(none) * 2 > len(ways) else []


def way_of(model: Model, numbers: Numbers) -> WayBack | None:
    """The route back to one of the clients with these numbers (N,); None if none of their routes was read."""
    part = model.sample.part(WaysBack)
    for way in part.ways if part is not None else ():
        if np.any(numbers == way.number):
            return way
    return None
