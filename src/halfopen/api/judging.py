"""Look for a while and judge: `diagnose()` and `advise()`."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from halfopen.api.chosen import make_filter, namespace, seconds_of
from halfopen.api.reading import snapshot
from halfopen.core.model.model import Model
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent

if TYPE_CHECKING:
    from halfopen.core.advice.advice import AdviceGiven
    from halfopen.core.findings.diagnosis import Diagnosis


def diagnose(
    netns: str | Netns | None = None,
    *,
    seconds: str | float = 5.0,
    listener: str | Iterable[str] = (),
    source: str = "auto",
    stop: threading.Event | None = None,
) -> Diagnosis:
    """Look at a namespace for some seconds and judge what is wrong, by the rules of `status`.

    `.causes`: each `.finding` (`id`, `level`, `facts`, `listener`, `cures`) with its `.confidence` and the `.rivals`
    that are not ruled out; `.ruled_out`: `ids` and the `facts` that exclude them; `.undecided`: ids. `seconds`: "10s"
    or a number; `stop`, once set, ends the look early. `listener`: without the findings about other listeners.
    `source` as for `sample`.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.ops.diagnose import diagnose_on

    time_s = seconds_of(seconds, "seconds") or 0.0
    chosen = make_filter(listener=listener)

    def read() -> list[Model]:
        return [snapshot(netns, rows=False, source=source)]

    [found] = diagnose_on(read, time_s, way=source, filter=chosen, stop=stop)
    return found


def advise(
    netns: str | Netns | None = None,
    *,
    seconds: str | float = 60.0,
    listener: str | Iterable[str] = (),
    stop: threading.Event | None = None,
) -> AdviceGiven:
    """Watch handshakes and queues of a namespace by eBPF, and say what each listener needs. Nothing is changed.

    `.listeners`: each with `choices` of a release time (`share`, from 0 to 1: the most clients that it can cost),
    `release` (the shortest that is proved harmless, or None), `syn_queue`, `accept_queue`, `needed_backlog` and
    `cures`. `seconds`: "10m" or a number; `stop`, once set, ends the look early.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.ops.advise import advise_on

    time_s = seconds_of(seconds, "seconds") or 0.0
    return advise_on(namespace(netns), time_s, make_filter(listener=listener), stop or StopEvent())
