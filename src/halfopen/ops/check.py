"""What `check` measures beyond the looks of `status`: SYNs and ACKs that are dropped, at quiet namespaces as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from halfopen.core.fields.check import CheckedValues
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.model.model import Model
from halfopen.ops.looks import INTERVAL_S, Looks, counted_since

_DROPS: Final = "ListenDrops"


def checked(
    seen: Sequence[Looks], closing: Sequence[ClosingSeen], *, pause: Callable[[float], None] = time.sleep
) -> tuple[list[Looks], list[CheckedValues]]:
    """The looks and the values of each, in the order of `seen`.

    Where one look was enough, the counters are read once more, half a second after it. If SYNs or ACKs were dropped
    meanwhile, that look is returned with the rates of its counters, so that the verdict takes them into account.
    closing: what was seen of the connections of each, in the same order. pause: waits that many seconds.
    """
    quiet = [one.now for one in seen if _rate(one.now) is None]
    if quiet:
        newest = max(model.sample.monotonic_s for model in quiet)
        pause(max(0.0, newest + INTERVAL_S - time.monotonic()))
    found, values = [], []
    for one, beside in zip(seen, closing, strict=True):
        counted = one if one.now.rates is not None else counted_since(one.now)
        drops = None if counted is None else _rate(counted.now)
        found.append(counted if counted is not None and drops else one)
        values.append(_values(one.now, drops, beside))
    return found, values


def _values(model: Model, drops: float | None, closing: ClosingSeen) -> CheckedValues:
    waiting = sum(view.accept_queue for view in model.listeners)
    return CheckedValues(model.half_open, model.oldest_s, drops, waiting, closing.glance.close_wait)


def _rate(model: Model) -> float | None:
    return None if model.rates is None else model.rates.get(_DROPS)
