"""What `check` measures beyond the looks of `status`: SYNs and ACKs that are dropped, at quiet namespaces as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.check import CheckedValues
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.model.model import Model
from halfopen.linux.netns import Netns
from halfopen.ops.looks import INTERVAL_S, Looks
from halfopen.read import procfs

_DROPS: Final = "ListenDrops"


def checked(
    seen: Sequence[Looks], closing: Sequence[ClosingSeen], *, pause: Callable[[float], None] = time.sleep
) -> list[CheckedValues]:
    """The values of each look, in its order. Where one look was enough, the counters are read once more, half a second
    after it. closing: of each in turn. pause: waits that many seconds.
    """
    quiet = [one.now for one in seen if _rate(one.now) is None]
    if quiet:
        newest = max(model.sample.monotonic_s for model in quiet)
        pause(max(0.0, newest + INTERVAL_S - time.monotonic()))
    return [_values(one.now, beside) for one, beside in zip(seen, closing, strict=True)]


def _values(model: Model, closing: ClosingSeen) -> CheckedValues:
    drops = _rate(model)
    if drops is None:
        drops = _counted_again(model)
    waiting = sum(view.accept_queue for view in model.listeners)
    return CheckedValues(model.half_open, model.oldest_s, drops, waiting, closing.glance.close_wait)


def _rate(model: Model) -> float | None:
    return None if model.rates is None else model.rates.get(_DROPS)


def _counted_again(model: Model) -> float | None:
    """None where the counter is not shown, or the namespace is gone."""
    sample = model.sample
    before, where = sample.counters.get(_DROPS), sample.where
    if before is None:
        return None
    try:
        now = Netns(where.name, where.inode, where.path, where.lives_in).run(procfs.counters).get(_DROPS)
    except HalfopenError:
        return None
    seconds = time.monotonic() - sample.monotonic_s
    return None if now is None or now < before or seconds <= 0 else (now - before) / seconds
