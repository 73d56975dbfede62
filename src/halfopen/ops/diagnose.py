"""Diagnoses namespaces by two looks, as far apart as asked for, and the rules of `status`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from halfopen.core.errors import UnknownTarget
from halfopen.core.filters import Filter
from halfopen.core.findings.diagnosis import Diagnosis, at_listeners, diagnosis
from halfopen.core.findings.evidence import Evidence
from halfopen.core.model.model import Model
from halfopen.core.model.narrowed import only
from halfopen.linux.stopping import StopEvent
from halfopen.ops.looks import looks


def diagnose_on(
    read: Callable[[], Sequence[Model]],
    seconds: float,
    *,
    way: str = "auto",
    filter: Filter | None = None,
    stop: threading.Event | None = None,
) -> list[Diagnosis]:
    """A diagnosis of each namespace that `read` reads; with listeners in `filter`, only of those that have one of them.

    seconds: between the two looks; once `stop` is set, the second is taken at once. way: as for `reader.read`.

    Raises: UnknownTarget where no namespace has the listener; as `read`.
    """
    waiting = stop or StopEvent()

    def pause(seconds: float) -> None:
        waiting.wait(seconds)

    seen = looks(read, way=way, interval_s=seconds, deep=True, pause=pause)
    found = [diagnosis(Evidence(one.now, one.before, one.interval_s)) for one in seen]
    if filter is None or not filter.listeners:
        return found
    kept = [at_listeners(one, filter) for one in found if only(one.now, filter).listeners]
    if not kept:
        raise UnknownTarget(f"nothing listens {filter.describe()}", hint="halfopen status lists the listeners")
    return kept
