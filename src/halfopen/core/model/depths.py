"""Readings of depths alone, in the light of the last reading of every request."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model, fullest_first


def without_answered(model: Model, before: Model | None) -> Model:
    """A reading of depths without the connections that had answered at the reading before, and wait in the SYN queue
    for room in the accept queue: the kernel counts them in its depth. Any other reading as it is.

    before: as this function returned it, so that they are carried from one reading of depths to the next, as far as the
    queue still holds as many.
    """
    if before is None or not model.sample.depths or not before.deferred:
        return model
    old = {view.key: view for view in before.views if view.deferred}
    views = tuple(_without(view, old.get(view.key)) for view in model.views)
    answered = sum(view.deferred for view in views)
    if answered == model.deferred:
        return model
    half_open = sum(view.half_open for view in views)
    return replace(model, half_open=half_open, deferred=answered, views=views, listeners=fullest_first(views))


def _without(view: ListenerView, old: ListenerView | None) -> ListenerView:
    held = view.half_open + view.deferred
    if old is None or (answered := min(old.deferred, held)) == view.deferred:
        return view
    half_open = held - answered
    return replace(view, half_open=half_open, deferred=answered, defers=old.defers, young=min(view.young, half_open))
