"""A Model of the listeners that a filter can mean, and no others."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.model.model import Model
from halfopen.core.sample import Head


def only(model: Model, chosen: Filter) -> Model:
    """The Model of a Sample that was read with `chosen`, its listeners those that the filter can mean."""
    if not chosen.listeners:
        return model
    views = tuple(v for v in model.listeners if chosen.may_mean(v.address, v.port))
    half_open, deferred = model.half_open, model.deferred
    if model.sample.depths:
        half_open, deferred = (sum(v.half_open for v in views), sum(v.deferred for v in views))
    certain = only(model.certain, chosen) if model.certain is not None else None
    return replace(model, listeners=views, half_open=half_open, deferred=deferred, certain=certain)


def tells(chosen: Filter) -> bool:
    """Whether the depths of the queues tell how many requests a filter lets through: it names whole listeners."""
    return not chosen.sources and all(a is None or a.is_unspecified for a, _ in chosen.listeners)


def depths_tell(head: Head) -> bool:
    """Whether the queues alone tell how many requests are half-open: all are known, and none may hold deferred ones."""
    queues = head.queues
    if queues is None or head.completeness.source != "bpf" or not queues["known"].all():
        return False
    return not bool((queues["qlen"][queues["defer_accept"] > 0] > 0).any())
