"""Looks twice at a namespace where there is something to judge: what changes in between tells more than one look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.findings.chance import SOME
from halfopen.core.model.columns import Builder
from halfopen.core.model.model import Model, build, with_parts
from halfopen.core.model.waiting import holders
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.requests import Requests
from halfopen.linux.netns import Netns
from halfopen.ops.losses import losing, often_lost
from halfopen.read import before_tcp, procfs, reader, requests
from halfopen.read.probe import Probe

# Between the two looks; long enough for a handshake across an ocean.
INTERVAL_S: Final = 0.5
# Where the requests took longer than this to read, only the counters are read again. With fewer than _MANY of them a
# slow reading means a busy machine, so more is allowed.
_SLOW_S: Final = 0.25
_MANY: Final = 20_000
_VERY_SLOW_S: Final = 1.5
# With more namespaces than this, counters are not read again just to see whether they move.
_FEW: Final = 8
# Where nothing waits, only packet counts can show lost or reset handshakes, so the pause is this many times longer.
_RARE: Final = 2


class Looks(Struct, frozen=True):
    """A namespace as it looks now, and as it looked before. interval_s: between the two, None for one look."""

    now: Model
    before: Model | None = None
    interval_s: float | None = None


def worth_another(model: Model) -> bool:
    """Whether there is anything that a second look could judge."""
    return _something_waits(model) or often_lost(model)


def _something_waits(model: Model) -> bool:
    return model.half_open >= SOME or any(view.accept_queue or view.deferred for view in model.listeners)


def looks(
    read: Callable[[], Sequence[Model]],
    *,
    way: str = "auto",
    instant: bool = False,
    interval_s: float = INTERVAL_S,
    deep: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> list[Looks]:
    """The first look at some namespaces, by `read`, and a second at those where `worth_another` or moving counters ask
    for it.

    way: as for `reader.read`. instant: no second look. interval_s: the pause before the second. deep: a second look
    at every namespace, whatever the first one shows and however long a reading takes. pause: waits that many seconds,
    as `time.sleep`; what it raises ends the looks. A namespace that vanished meanwhile is judged by the first.

    Raises: as `read`, as `pause`.
    """
    first = [_with_workers(model) for model in read()]
    slow = not deep and _slow(first)
    again = [deep or worth_another(model) or (len(first) <= _FEW and losing(_of(model), model)) for model in first]
    if instant or not any(again):
        return [Looks(model) for model in first]
    counted = [_counters(model) if slow and wanted else None for model, wanted in zip(first, again, strict=True)]
    if not deep and not any(map(_something_waits, first)):
        interval_s *= _RARE
    meant = [model.sample.where.inode for model, wanted in zip(first, again, strict=True) if wanted]
    with _counting(meant, way) as parts:
        # Counted from now, however long ago the first look was: the programs that count arrivals were just loaded.
        pause(interval_s)
        found = []
        for model, wanted, before in zip(first, again, counted, strict=True):
            if not wanted:
                found.append(Looks(model))
            else:
                found.append(_again(model, way, parts) if before is None else _counted_again(model, before, parts))
        return found


@contextmanager
def _counting(inodes: list[int], way: str) -> Iterator[list[Probe]]:
    """Count what arrives at these namespaces inside the block; gives the probes that the second look reads in addition.

    Nothing is counted where eBPF is refused, or `way` asks for other means.
    """
    # Imported here: not needed where there is nothing to judge.
    from halfopen.read import guards, peers
    from halfopen.read.bpf import arrivals

    found = [peers.probe(), guards.probe(wanted=True)]
    with ExitStack() as stack:
        if way in ("auto", "bpf"):
            try:
                programs = stack.enter_context(arrivals.ArrivalPrograms(inodes[0] if len(inodes) == 1 else 0))
                found.append(arrivals.probe(programs))
            except HalfopenError:
                pass  # the verdict tells by which means it was reached
        yield found


def _slow(first: Sequence[Model]) -> bool:
    """Whether the requests took too long to be read again. Only they count: the rest of a first look, such as loading
    programs, is not repeated.
    """
    each_s = sum(map(_took_s, first)) / max(len(first), 1)
    many = any(model.half_open + model.deferred > _MANY for model in first)
    return each_s > (_SLOW_S if many else _VERY_SLOW_S)


def _took_s(model: Model) -> float:
    part = model.sample.part(Requests)
    return 0.0 if part is None else part.took_s


def _of(model: Model) -> Netns:
    where = model.sample.where
    return Netns(where.name, where.inode, where.path, where.lives_in)


def _with_workers(model: Model) -> Model:
    """With what the processes that hold the waiting connections do, and what they did at the look before."""
    pids = holders(model)
    if not pids:
        return model
    from halfopen.core.sample.workers import Workers
    from halfopen.read import workers

    return replace(model, sample=model.sample.with_part(workers.read(pids, model.sample.part(Workers))))


def _with_ways(model: Model) -> Model:
    """With the routes back to clients that retransmit SYNs, where several do."""
    from halfopen.core.findings.ways import wanted
    from halfopen.read import ways

    asked = wanted(model)
    if not asked:
        return model
    try:
        part = _of(model).run(lambda: ways.read(asked))
    except HalfopenError:
        return model  # the verdict does not depend on the routes, it only mentions them
    return replace(model, sample=model.sample.with_part(part))


def _again(model: Model, way: str, parts: list[Probe]) -> Looks:
    sample = model.sample
    builder = Builder()
    probes = [before_tcp.probe(sample.part(BeforeTcp)), requests.probe(builder)]
    if pids := holders(model):
        from halfopen.core.sample.workers import Workers
        from halfopen.read import workers

        probes.append(workers.probe(pids, sample.part(Workers)))
    try:
        fresh = reader.read(_of(model), probes, way=way, with_owners=False)
    except HalfopenError as e:
        return _alone(model, e)
    if np.array_equal(fresh.listeners["inode"], sample.listeners["inode"]):
        kept = replace(fresh.completeness, notes=sample.completeness.notes, hidden=sample.completeness.hidden)
        fresh = replace(fresh, owners=sample.owners, options=sample.options, completeness=kept)
    now = _with_ways(with_parts(build(fresh, sample, columns=builder.take()), *_beside(model, parts)))
    return Looks(now if pids else _with_workers(now), model, fresh.monotonic_s - sample.monotonic_s)


def _alone(model: Model, error: HalfopenError) -> Looks:
    """The first look only. Unless the namespace is just gone, a note says why it could not be read again."""
    if isinstance(error, UnknownTarget):
        return Looks(model)
    told = model.sample.completeness
    note = f"there was only one look, because the second failed: {error.message}"
    told = replace(told, notes=(*told.notes, note))
    return Looks(replace(model, sample=replace(model.sample, completeness=told)))


def _beside(model: Model, parts: list[Probe]) -> tuple[object, ...]:
    """The parts that these probes read; none where the namespace is gone.

    A reading of their own: their time would lengthen the interval over which the rates of the counters are computed.
    """
    try:
        return reader.read(_of(model), parts, way="diag", with_owners=False).parts
    except HalfopenError:
        return ()


class _Counted(Struct, frozen=True):
    """The counters of a namespace at one moment."""

    at: float
    counters: Mapping[str, int]
    lost: BeforeTcp


def _counters(model: Model, earlier: BeforeTcp | None = None) -> _Counted | None:
    """The counters of now; None where the namespace is gone."""
    try:
        return _Counted(time.monotonic(), *_of(model).run(lambda: (procfs.counters(), before_tcp.read(earlier))))
    except HalfopenError:
        return None


def _once(took_s: float) -> str:
    return (
        f"connections and queues were looked at once, which took {took_s:.1f} s: only the rates of the kernel's "
        "counters are from two looks"
    )


def _counted_again(model: Model, before: _Counted, parts: list[Probe]) -> Looks:
    """The first look with the rates of the counters from `before` until now, and with what `parts` read."""
    now = _counters(model, before.lost)
    if now is None:
        return Looks(model)
    found = _beside(model, parts)
    seconds = now.at - before.at
    gained = {name: value - before.counters[name] for name, value in now.counters.items() if name in before.counters}
    rates = {name: n / seconds for name, n in gained.items()}
    told = model.sample.completeness
    told = replace(told, notes=(*told.notes, _once(_took_s(model))))
    model = _with_workers(replace(model, sample=replace(model.sample.with_part(now.lost), completeness=told)))
    return Looks(_with_ways(replace(with_parts(model, *found), rates=rates)), None, seconds)


def counted_since(model: Model) -> Looks | None:
    """The look with the rates of its counters from then until now; None where the namespace is gone."""
    sample = model.sample
    now = _counters(model, sample.part(BeforeTcp))
    if now is None:
        return None
    seconds = max(now.at - sample.monotonic_s, 1e-3)
    rates = {n: (value - sample.counters[n]) / seconds for n, value in now.counters.items() if n in sample.counters}
    return Looks(replace(model, sample=sample.with_part(now.lost), rates=rates), None, seconds)
