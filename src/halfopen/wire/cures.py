"""Cures as plain values and back: each step is the name of its class and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from halfopen.core.closing_filter import ClosingFilter, peer
from halfopen.core.filters import Filter
from halfopen.core.findings import cures
from halfopen.core.findings.cures import Cure, CureStep
from halfopen.core.policy.actions import Block, ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.policy.connection_actions import ChangeConnections
from halfopen.core.units import endpoint, endpoint_words, listener_text, prefix
from halfopen.core.where import Namespace

RawCure = tuple[tuple[str, Mapping[str, Any]], ...]
# Classes with only texts and numbers as fields.
_PLAIN: Final[Mapping[str, type[Any]]] = {
    one.__name__: one
    for one in (
        ChangeSetting,
        ChangeListener,
        Look,
        cures.LookAtProcess,
        cures.LookAtTracer,
        cures.ContinueProcess,
        cures.ThawProcess,
        cures.RaiseDescriptors,
        cures.LookAtQuota,
        cures.LookAtRoute,
        cures.LookAtHost,
        cures.LookAtPackets,
        cures.RaiseConntrack,
        cures.RaiseOpenFiles,
    )
}


def raw_of(cure: Cure) -> RawCure:
    """The plain values of a cure."""
    return tuple((type(step).__name__, _values(step)) for step in cure)


def cure_of(raw: RawCure) -> Cure:
    """The cure of plain values. Raises: KeyError, TypeError, ValueError, UsageError."""
    return tuple(_step(name, dict(values)) for name, values in raw)


def _values(step: CureStep) -> dict[str, Any]:
    """The arguments of a proposed step, which was neither planned nor decided yet."""
    if isinstance(step, Release):
        return {"where": step.where, "filter": step.filter.arguments(), "reason": step.reason}
    if isinstance(step, Protect):
        places = [f":{port}" if a is None else listener_text(str(a), port) for a, port in step.listeners]
        return {"where": step.where, "listeners": places, "reason": step.reason, "for_s": step.for_s}
    if isinstance(step, Block):
        sources = [str(one) for one in step.sources]
        return {"where": step.where, "sources": sources, "for_s": step.for_s, "reason": step.reason, "port": step.port}
    if isinstance(step, ChangeConnections):
        by = step.filter
        parts = {"processes": by.processes, "states": by.states, "idle_s": by.idle_s, "kinds": by.kinds}
        listeners = [endpoint_words(one) for one in by.listeners]
        filter = {**parts, "peers": [str(one) for one in by.peers], "listeners": listeners}
        return {"where": step.where, "how": step.how, "filter": filter, "reason": step.reason, "most": step.most}
    return {name: getattr(step, name) for name in step.__struct_fields__ if name != "found"}


def _step(name: str, values: dict[str, Any]) -> CureStep:
    if name in _PLAIN:
        made: CureStep = _PLAIN[name](**values)
        return made
    values["where"] = msgspec.convert(values["where"], Namespace)
    return _MADE[name](values)


def _release(values: dict[str, Any]) -> Release:
    return Release(**{**values, "filter": Filter.of_arguments(values["filter"])})


def _protect(values: dict[str, Any]) -> Protect:
    return Protect(**{**values, "listeners": tuple(endpoint(one) for one in values["listeners"])})


def _block(values: dict[str, Any]) -> Block:
    return Block(**{**values, "sources": tuple(prefix(one) for one in values["sources"])})


def _change_connections(values: dict[str, Any]) -> ChangeConnections:
    given = values["filter"]
    filter = ClosingFilter(
        tuple(given["processes"]),
        tuple(given["states"]),
        tuple(peer(one) for one in given["peers"]),
        given["idle_s"],
        tuple(given["kinds"]),
        # Missing in records of an earlier version.
        tuple(endpoint(one) for one in given.get("listeners", ())),
    )
    return ChangeConnections(**{**values, "filter": filter})


_MADE: Final[Mapping[str, Callable[[dict[str, Any]], CureStep]]] = {
    "Release": _release,
    "Protect": _protect,
    "Block": _block,
    "ChangeConnections": _change_connections,
}
