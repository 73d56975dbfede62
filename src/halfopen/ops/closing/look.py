"""Looks once or twice at the open and closing connections of a namespace, and judges them."""

from __future__ import annotations

import threading
import time

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.judging import judged
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.closing import ClosingModel
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Look
from halfopen.core.sample import Sample
from halfopen.core.sample.closing import ALL_STATES, OpenSockets
from halfopen.linux.netns import Netns
from halfopen.ops.closing.narrowing import narrowed, verdict_of
from halfopen.ops.closing.retrofitting import left_open
from halfopen.read import closing, reader
from halfopen.read.probe import unshown


class ClosingLook(Struct, frozen=True, eq=False):
    """What one look or two at a namespace showed, and the verdict. sample: of the last look."""

    sample: Sample
    model: ClosingModel
    verdict: Verdict


def look(
    ns: Netns | None,
    filter: ClosingFilter,
    *,
    seconds: float | None = None,
    way: str = "auto",
    stop: threading.Event | None = None,
) -> ClosingLook:
    """Look at the connections that a filter selects in a namespace (None: the process's own); twice, `seconds` apart,
    where given. Once `stop` is set, the second look is taken at once.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    first = _sample(ns, way)
    if seconds is None:
        return judge_chosen(first, None, filter)
    (stop or threading.Event()).wait(max(0.0, seconds - (time.monotonic() - _sockets(first).looked_at_s)))
    return judge_chosen(_sample(ns, way), first, filter)


def judge_chosen(now: Sample, before: Sample | None, filter: ClosingFilter) -> ClosingLook:
    """The verdict on the connections that a filter selects from one reading, or from two."""
    everything = _evidence(now, before)
    if filter.empty:
        return judge_connections(everything)
    those = _evidence(narrowed(now, filter), None if before is None else narrowed(before, filter))
    return _looked(those, verdict_of(those, everything))


def _evidence(now: Sample, before: Sample | None) -> Evidence:
    return Evidence(build(now)) if before is None else Evidence(build(now, before), build(before))


def _sample(ns: Netns | None, way: str) -> Sample:
    sample = reader.read(ns, [unshown(), closing.probe(ALL_STATES)], way=way, with_owners=False)
    if left := left_open(sample.where):
        whole = sample.completeness
        sample = replace(sample, completeness=replace(whole, notes=(*whole.notes, *left)))
    return sample


def _sockets(sample: Sample) -> OpenSockets:
    found = sample.part(OpenSockets)
    if found is None:
        raise ValueError("a Sample without connections")
    return found


def with_connections(model: Model, sockets: OpenSockets) -> Model:
    """A Model of these connections alone, in the namespace of `model`."""
    bare = model.bare()
    return replace(bare, sample=bare.sample.with_part(sockets))


def judge_connections(e: Evidence) -> ClosingLook:
    """The verdict by only the rules about open and closing connections. Raises: ValueError without connections."""
    return _looked(e, judged(e, Need.CLOSING))


def _looked(e: Evidence, verdict: Verdict) -> ClosingLook:
    model = e.closing
    if model is None:
        raise ValueError("a Sample without connections")
    if not any(one.cures for one in verdict.findings):
        verdict = replace(verdict, next=((Look(e.netns, "closing list", "see them"),),))
    return ClosingLook(e.now.sample, model, verdict)


def sorted_places(model: ClosingModel, by: str) -> NDArray[np.intp]:
    """The places (N,) of the N connections, ordered by `age`, `unread` or `unacked` (the largest first) or by `pid`."""
    sockets = model.sockets
    if by == "pid":
        return np.argsort(np.zeros(len(sockets.rows)) if sockets.pids is None else sockets.pids, kind="stable")
    column = model.ages.at_least_s if by == "age" else sockets.rows[by].astype(np.int64)
    return np.argsort(-column, kind="stable")
