"""The SYN queue: how full it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.evidence import SLOW_S, Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import longer_queues, release
from halfopen.core.model.listeners import ListenerView

NEARLY_ALL: Final = 0.95


def _prunes(view: ListenerView) -> bool:
    """Whether the kernel has begun to prune: above half and above eight (`reqsk_timer_handler()`)."""
    return bool(view.syn_queue_limit) and view.held * 2 > max(8, view.syn_queue_limit or 0)


def _full(view: ListenerView) -> bool:
    return _prunes(view) and view.fill is not None and view.fill >= NEARLY_ALL


def _held(view: ListenerView) -> Fact:
    return Fact("syn_queue", view.held, view.syn_queue_limit)


@rule("syn-queue-full", Level.WARNING, Level.CRITICAL, doc="a SYN queue is full; critical with cookies off")
def syn_queue_full(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        if _full(view):
            level = Level.WARNING if e.cookies else Level.CRITICAL
            facts = _held(view), Fact("tcp_syncookies", e.cookies)
            yield Hit(level, facts, view, cures=longer_queues(e, view))


@rule("syn-queue-filling", Level.WARNING, doc="a SYN queue is more than half full")
def syn_queue_filling(e: Evidence) -> Iterator[Hit]:
    for view, silent in e.pairs():
        if not _prunes(view) or _full(view):
            continue
        facts = (
            _held(view),
            Fact("effective_release_time_s", view.effective_release_time_s, view.release_time_s, "s"),
        )
        cures = (release(e.now.sample.where, "syn-queue-filling", view=view),) if silent.ages.max > SLOW_S else ()
        yield Hit(Level.WARNING, facts, view, cures=cures)
