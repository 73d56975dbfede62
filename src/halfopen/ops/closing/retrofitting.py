"""Sets keepalive on connections that are already open, and restores it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.change import options_record
from halfopen.change.closers import Closers, meant
from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.errors import HalfopenError, UnknownTarget, UsageError
from halfopen.core.policy.connection_actions import (
    KEEPALIVE_ON,
    ChangeConnections,
    ChangedConnections,
    KeepaliveOptions,
    RestoreOptions,
)
from halfopen.core.policy.connection_notes import IN_BURSTS, LEFT_OPEN, RECORD, RECORD_KEPT, UNSET
from halfopen.core.sample.closing import FIN_WAIT2, MINI, STATES
from halfopen.core.units import netns_words, plural
from halfopen.core.where import Namespace
from halfopen.linux import small_files
from halfopen.linux.identity import of_thread
from halfopen.linux.netns import Netns
from halfopen.ops.closing import by_descriptor, proving
from halfopen.ops.closing.jiffies import in_seconds, quiet_jiffies
from halfopen.ops.closing.under_lock import closers, refused
from halfopen.ops.closing.victims import USUAL, MeantConnections, may_change, within
from halfopen.read import closing, procfs
from halfopen.wire.bpf_records import ACTED

NOTHING: Final = KeepaliveOptions(None)
"""Changes no option; setting it only returns what the options are."""
# The default of net.core.netdev_max_backlog, how many packets from loopback and veth a CPU queues.
_BACKLOG: Final = 1000


def in_bursts(outcome: ChangedConnections) -> tuple[str, ...]:
    """A warning about keepalive on very many connections.

    The kernel rounds a timer up by as much as an eighth (kernel/time/timer.c), so thousands of probes leave within one
    jiffy, and `enqueue_to_backlog()` drops those beyond netdev_max_backlog: 390,731 of 400,000 healthy connections over
    loopback were reset after five rounds (6.18).
    """
    text = small_files.text("/proc/sys/net/core/netdev_max_backlog")
    room = int(text) if text.isdigit() else _BACKLOG
    if outcome.matched <= room:
        return ()
    return (IN_BURSTS.format(connections=plural(outcome.matched, "connection"), room=f"{room:,}"),)


def left_open(where: Namespace) -> tuple[str, ...]:
    """Notes on how to undo changes by a halfopen that was killed in the middle of them."""
    return tuple(LEFT_OPEN.format(id=id, netns=netns_words(where.name)) for id in options_record.left_open(where))


def is_plain(filter: ClosingFilter) -> bool:
    """Whether the eBPF program can apply the filter by itself: states and idle time only."""
    return replace(filter, states=(), idle_s=None).empty


def onto_all(
    action: ChangeConnections, states: int, outcome: ChangedConnections, *, dry_run: bool
) -> ChangedConnections | None:
    """Set keepalive on every connection in some states, without first reading processes or cookies: the eBPF program
    judges each connection as it reaches it. None if that program may not be used.

    Connections that wait for accept() and those that nobody holds are set as well, which does no harm.
    """
    options = action.options or KeepaliveOptions()
    try:
        # Counting a million takes a tenth of a second, so that is done only where there may be more than allowed.
        matched = 0
        if dry_run or sum(procfs.socket_totals()) > action.most:
            matched = _how_many(action.filter, states)
            within(action, matched)
        outcome = replace(outcome, matched=matched, dry_run=dry_run)
        if dry_run:
            return outcome
        programs = Closers()
    except UsageError:
        raise
    except HalfopenError:
        return None  # the caller tries the other ways, which say why
    with programs, options_record.OpenRecord(action.where) as record:
        n, problems = 0, tuple[str, ...]()
        record.begin()
        pieces = programs.retrofit_all(options, states, quiet_jiffies(action.filter.idle_s or 0.0))
        with contextlib.closing(pieces):
            for piece in pieces:
                n += len(piece) // ACTED.itemsize
                try:
                    record.add(piece)
                except HalfopenError as e:
                    problems = (f"stopped after {plural(n, 'connection')}: {e.line()}",)
                    break
        if not n:
            record.drop()
            return outcome
        record.keep()
        done = replace(
            outcome,
            matched=max(matched, n),
            done=n,
            spared=max(matched - n, 0),
            failed=programs.failures,
            way="bpf",
            problems=(*refused(programs), *problems),
        )
    return _with_record(done, record.id, options)


def _how_many(filter: ClosingFilter, states: int) -> int:
    """How many connections a plain filter selects. Raises: as `closing.read`."""
    if filter.idle_s is None:
        counts = closing.count()
        return sum(counts.of(state) for state in range(STATES) if states >> state & 1) - (
            counts.orphaned if states >> FIN_WAIT2 & 1 else 0
        )
    sockets = closing.read("bpf", states, with_owners=False, notes=[])
    return int(np.count_nonzero(filter.mask(sockets) & (sockets.rows["flags"] & MINI == 0)))


def keepalive(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    """Set options on the connections that were found, once the present options are in the record.

    Raises: JournalError before anything is changed; KernelError.
    """
    options, notes = action.options or KeepaliveOptions(), list(outcome.notes)
    with options_record.OpenRecord(action.where) as record:
        programs = closers(len(found), notes)
        if programs is None:
            known, failed = by_descriptor.set_options(found.sockets, NOTHING, stop)
            record.begin(known)
            recorded = found.sockets.chosen(np.isin(found.sockets.rows["cookie"], known["cookie"]))
            rows, refusals = by_descriptor.set_options(recorded, options, stop)
            failed += refusals
            done = replace(
                outcome, done=len(rows), failed=failed, spared=len(found) - len(rows) - failed, way="descriptor"
            )
        else:
            with programs:
                known = programs.retrofit(found.sockets.rows["cookie"], meant(len(found)), states)
                record.begin(known)
                rows = programs.retrofit(known["cookie"], meant(len(known), options), states)
                done = replace(
                    outcome,
                    done=len(rows),
                    spared=outcome.matched - len(rows),
                    failed=programs.failures,
                    way="bpf",
                    problems=refused(programs),
                )
        record.keep()
    return _with_record(replace(done, notes=tuple(notes)), record.id, options)


def _with_record(done: ChangedConnections, id: str, options: KeepaliveOptions) -> ChangedConnections:
    """The outcome of a keepalive with the id of its record."""
    notes = list(done.notes)
    if options.idle_s is not None or options.interval_s is not None or options.probes is not None:
        notes.append(UNSET)
    return replace(done, record=id, notes=tuple(notes))


def restore(action: RestoreOptions, ns: Netns, *, dry_run: bool = False) -> ChangedConnections:
    """Undo a keepalive by its record. `matched` counts all connections of the record, or in a dry run only those that
    still exist.

    Raises: UnknownTarget, UsageError (a later record has some of the same connections), NotPermitted, Unsupported,
    KernelError, JournalError.
    """
    began = time.monotonic()
    record = options_record.load(action.id)
    for later, n in options_record.laid_over(action.id, record):
        raise UsageError(
            f"a later change, with the record {later}, has {plural(n, 'connection')} of the record {action.id} as well",
            hint=f"undo that first: halfopen closing keepalive --undo {later}{netns_words(ns.name)}",
        )

    def work() -> ChangedConnections:
        if of_thread(ns) != record.where:
            raise UnknownTarget(
                f"the record {action.id} is of another network namespace", hint="name that one with --netns"
            )
        may_change()
        notes: list[str] = []
        outcome = ChangedConnections("undo", ns.name, RECORD.format(id=action.id), matched=len(record.rows))
        if dry_run:
            return replace(outcome, matched=_still_there(record.rows, notes), dry_run=True, notes=tuple(notes))
        return replace(_set_back(record.rows, outcome, notes), notes=tuple(notes))

    outcome = ns.run(work)
    if outcome.failed:
        outcome = replace(outcome, notes=(*outcome.notes, RECORD_KEPT.format(id=action.id)))
    elif not dry_run:
        options_record.drop(action.id)
    return replace(outcome, seconds=time.monotonic() - began)


def _still_there(rows: NDArray[Any], notes: list[str]) -> int:
    """How many of K records (dtype ACTED) are of a connection that still exists."""
    states = sum(1 << state for state in USUAL[KEEPALIVE_ON])
    found = closing.read("auto", states, with_owners=False, notes=notes).rows
    return int(np.count_nonzero(np.isin(rows["cookie"], found["cookie"][found["flags"] & MINI == 0])))


def _set_back(rows: NDArray[Any], outcome: ChangedConnections, notes: list[str]) -> ChangedConnections:
    states = sum(1 << state for state in USUAL[KEEPALIVE_ON])
    programs = closers(len(rows), notes)
    if programs is None:
        by_hand = by_descriptor.Duplicates(closing.read("auto", states, with_owners=True, notes=notes))
        done = len(by_hand.retrofit(rows["cookie"], as_they_were(rows), states))
        spared = len(rows) - done - by_hand.failures
        return replace(outcome, done=done, spared=spared, failed=by_hand.failures, way=by_hand.way)
    with programs:
        done = len(programs.retrofit(rows["cookie"], as_they_were(rows), states))
        problems, failed = refused(programs), programs.failures
        return replace(outcome, done=done, spared=len(rows) - done, failed=failed, way=programs.way, problems=problems)


def as_they_were(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (K,) MEANT that set the options of K records (dtype ACTED) back. An option that was never set gets the value
    of its sysctl, as the kernel cannot unset it.
    """
    usual = proving.keepalive_settings()
    wanted = meant(len(rows))
    wanted["keepalive"], wanted["user_timeout_ms"] = rows["keepalive"], rows["user_timeout_ms"]
    wanted["idle_s"] = np.where(rows["idle"] == 0, usual[0], in_seconds(rows["idle"]))
    wanted["interval_s"] = np.where(rows["interval"] == 0, usual[1], in_seconds(rows["interval"]))
    wanted["probes"] = np.where(rows["probes"] == 0, usual[2], rows["probes"])
    return wanted
