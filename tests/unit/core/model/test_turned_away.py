"""Whose clients were turned away: what the drops of a listener tell, and what they do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model, build
from halfopen.core.model.turned_away import prove_nothing, turned_away
from halfopen.core.sample import QUEUES
from rows import listener, sample

FLOODED, DEFERRING = (2, "0.0.0.0", 8080, 0), (2, "0.0.0.0", 8443, 0)


def looked(
    counters: dict[str, int], *, drops: tuple[int, int], held: tuple[int, int] = (0, 0), defers: bool = True, **own: Any
) -> Model:
    """A reading of :8080 and, where it defers, :8443: 128 fit into each queue."""
    rows = [
        listener(port=8080, inode=1, cookie=1, drops=drops[0]),
        listener(port=8443, inode=2, cookie=2, drops=drops[1], **own),
    ]
    queues = np.zeros(2, dtype=QUEUES)
    queues["known"], queues["qlen"] = True, held
    queues["defer_accept"] = (0, 5 if defers else 0)
    return build(sample([], rows, depths=True, queues=queues, counters=counters))


def away(now: Model, before: Model) -> dict[Any, int]:
    return turned_away(now.views, before.views, now.sample.counters, before.sample.counters)


def view(model: Model, key: Any) -> ListenerView:
    return next(one for one in model.views if one.key == key)


def test_acks_that_a_deferring_listener_let_wait_are_no_clients_turned_away() -> None:
    before = looked({"ListenDrops": 100, "TCPDeferAcceptDrop": 0}, drops=(100, 0), held=(128, 0))
    now = looked({"ListenDrops": 400, "TCPDeferAcceptDrop": 10}, drops=(390, 10), held=(128, 10))
    assert view(now, DEFERRING).defers
    assert away(now, before) == {FLOODED: 290}
    assert prove_nothing(view(now, DEFERRING), now.sample.counters)
    assert not prove_nothing(view(now, FLOODED), now.sample.counters)


def test_nor_where_nobody_else_has_drops() -> None:
    before = looked({"ListenDrops": 100}, drops=(100, 0))
    now = looked({"ListenDrops": 400}, drops=(100, 10), held=(0, 10))
    assert away(now, before) == {}


def test_a_deferring_listener_whose_queue_is_or_was_full_turns_away() -> None:
    before = looked({"ListenDrops": 100}, drops=(100, 0), held=(0, 128))
    now = looked({"ListenDrops": 400}, drops=(100, 300), held=(0, 3))
    assert away(now, before) == {DEFERRING: 300}
    full = looked({"ListenDrops": 400}, drops=(100, 300), accept_queue=129)
    assert away(full, looked({"ListenDrops": 100}, drops=(100, 0))) == {DEFERRING: 300}


def test_repeated_syns_beside_a_full_queue_are_no_clients_turned_away() -> None:
    before = looked({"ListenDrops": 100}, drops=(100, 0), held=(128, 3), defers=False)
    now = looked({"ListenDrops": 400}, drops=(390, 7), held=(128, 3), defers=False)
    assert away(now, before) == {FLOODED: 290}


def test_drops_of_which_a_full_queue_accounts_for_the_lesser_part_are_of_others_too() -> None:
    before = looked({"ListenDrops": 0}, drops=(0, 0), held=(128, 3), defers=False)
    now = looked({"ListenDrops": 400}, drops=(50, 380), held=(128, 3), defers=False)
    assert away(now, before) == {FLOODED: 50, DEFERRING: 350}
    calm = looked({"ListenDrops": 400}, drops=(50, 380), defers=False)
    assert away(calm, looked({"ListenDrops": 400}, drops=(0, 0), defers=False)) == {}
