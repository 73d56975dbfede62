"""Readings of depths do not count connections as half-open that had answered when every request was read."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.live import with_ages
from halfopen.core.model.depths import without_answered
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.sample import QUEUES
from halfopen.core.units import endpoint
from rows import listener, sample

ROWS = [listener(port=80, inode=1, limit=64, accept_queue=65), listener(port=443, inode=2, limit=64)]


def depths(at: float, *held: int) -> Model:
    """A reading that tells how many each queue holds."""
    queues = np.zeros(2, QUEUES)
    queues["known"], queues["qlen"] = True, held
    return build(replace(sample([], ROWS, queues=queues, depths=True), monotonic_s=at))


def whole(half_open: int, answered: int) -> Model:
    """A reading of every request, of which so many at :80 had answered."""
    model = depths(100.0, half_open + answered, 0)
    views = tuple(
        replace(v, half_open=half_open, deferred=answered, defers=False) if v.port == 80 else v for v in model.views
    )
    return replace(model, half_open=half_open, deferred=answered, views=views, listeners=views)


def told(model: Model) -> tuple[int, int, list[tuple[int, int, int]]]:
    return model.half_open, model.deferred, [(v.port, v.half_open, v.deferred) for v in model.listeners]


def test_what_had_answered_is_not_half_open_now() -> None:
    """Lines of watch went to and fro between 7 and 0, and the peak of the incident was 7."""
    found = without_answered(depths(101.0, 7, 2), whole(0, 7))
    assert told(found) == (2, 7, [(443, 2, 0), (80, 0, 7)])
    assert found.listeners[1].defers is False


def test_it_is_carried_on_as_far_as_the_queue_holds_as_many() -> None:
    model = whole(5, 7)
    for at, held, expected in ((101.0, 12, (5, 7)), (102.0, 15, (8, 7)), (103.0, 4, (0, 4)), (104.0, 9, (5, 4))):
        model = without_answered(depths(at, held, 0), model)
        assert told(model)[:2] == expected
    assert without_answered(model, model) is model


def test_without_any_that_had_answered_it_is_the_very_same() -> None:
    model = depths(101.0, 9, 1)
    assert without_answered(model, whole(9, 0)) is model
    assert without_answered(model, None) is model
    again = whole(3, 4)
    assert without_answered(replace(again, sample=sample([], ROWS)), again).half_open == 3


def test_the_screen_and_a_filter_see_the_same() -> None:
    before = whole(0, 7)
    found = without_answered(depths(101.0, 7, 2), before)
    assert told(with_ages(found, before)) == told(found)
    assert told(only(found, Filter(listeners=(endpoint(":80"),)))) == (0, 7, [(80, 0, 7)])
