"""The writer of history: a thread that owns the connection, writes one transaction a second, and survives a
full disk.
"""

from __future__ import annotations

import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from halfopen.core.errors import HalfopenError, HistoryError, words
from halfopen.core.history import Retention, Tier
from halfopen.core.policy.incidents import Incident
from halfopen.linux import threads
from halfopen.store import tiers
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.database import HistoryPlace, open_to_write, problem

_EVERY_S: Final = 1.0
# The most batches that wait while the disk is slow; further ones are dropped, and a trouble says so.
_WAITING_MOST: Final = 120
# While nothing can be written: how many incidents are kept in memory, with their releases.
REMEMBERED: Final = 256
_RETRY_S: Final = 10.0
_ENDS_WITHIN_S: Final = 5.0
Work = Callable[[], None]


class Writer:
    """Writes batches from now on. `hand` and `close` are for the thread that watches, and never wait for the disk."""

    def __init__(
        self,
        place: HistoryPlace,
        keep: Retention,
        version: str = "",
        *,
        group: int | None = None,
        retry_s: float = _RETRY_S,
    ) -> None:
        """Raises: HistoryError, NotPermitted: nothing was begun. A disk that is full now is a trouble like later on."""
        self.place = place
        self._keep, self._retry_s, self._group = keep, retry_s, group
        self._version = version
        self._queue: queue.Queue[HistoryBatch | Work | None] = queue.Queue(_WAITING_MOST)
        self._trouble: HalfopenError | None = None
        self._of_work: HalfopenError | None = None
        self._told = ""
        self._db: sqlite3.Connection | None = None
        self._rows: RowWriter | None = None
        self._hours: set[int] = set()
        self._more, self._tidied = False, 0
        self._pending = HistoryBatch()
        try:
            self._open()
        except HistoryError as e:
            if not e.passing:
                raise
            self._trouble = e  # the thread tries again, as it does after later errors
        self._thread = threading.Thread(target=self._work, name="halfopen-history", daemon=True)
        # Block all signals in this thread, so that they wake the main thread.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threads.start(self._thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def hand(self, batch: HistoryBatch) -> None:
        """Have a batch written within about a second."""
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            self._trouble = HistoryError(
                "history is not written fast enough: readings are left out", hint="is the disk busy?"
            )

    def do(self, work: Work) -> None:
        """Have `work` called in the writer's thread; what it raises becomes a trouble of history."""
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            pass  # `hand` says so

    def trouble(self) -> HalfopenError | None:
        """The present trouble, once when it begins; the same one again only if it has ended in between."""
        found = self._trouble or self._of_work
        if found is None:
            self._told = ""
            return None
        if found.message == self._told:
            return None
        self._told = found.message
        return found

    def close(self) -> HalfopenError | None:
        """Write what is left and end. Returns the trouble, unless it was reported before."""
        try:
            self._queue.put(None, timeout=_ENDS_WITHIN_S)
        except queue.Full:
            pass
        self._thread.join(_ENDS_WITHIN_S)
        return self.trouble()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        due, ended = time.monotonic() + _EVERY_S, False
        while not ended:
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                if isinstance(item, HistoryBatch):
                    self._pending.add(item)
                elif item is not None:
                    self._do(item)
                ended = item is None
            except queue.Empty:
                pass
            if ended or time.monotonic() >= due:
                due = time.monotonic() + (_EVERY_S if self._write() else self._retry_s)
        if self._db is not None:
            self._db.close()

    def _do(self, work: Work) -> None:
        try:
            work()
            self._of_work = None
        except (OSError, HalfopenError) as e:
            self._of_work = e if isinstance(e, HalfopenError) else problem(self.place.flights, e)
        except Exception as e:  # a bug in one record must not end history
            self._of_work = HistoryError(f"an incident is not recorded: {words(e)}")

    def _write(self) -> bool:
        """Write one transaction. Returns whether that succeeded; if not, the most important parts are kept in
        memory.
        """
        try:
            if self._db is None:
                self._open()
            db, rows = self._db, self._rows
            if db is None or rows is None:
                return False
            db.execute("BEGIN IMMEDIATE")
            try:
                if self._pending.at_s:
                    rows.write(self._pending)
                    self._tidy(db, rows, self._pending.at_s)
                db.execute("COMMIT")
            except BaseException:
                rows.forget()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except (sqlite3.Error, HalfopenError) as e:
            self._trouble = e if isinstance(e, HalfopenError) else problem(self.place.file, e)
            self._forget_most()
            return False
        except Exception as e:  # a bug ends history, but not the watch
            self._trouble = HistoryError(f"history is no longer written: {words(e)}")
            self._forget_most()
            return False
        self._trouble, self._pending = None, HistoryBatch(watched=None)
        return True

    def _open(self) -> None:
        """Open the file and begin a run. Raises: HistoryError, NotPermitted."""
        db = open_to_write(self.place, self._group)
        try:
            db.execute("BEGIN IMMEDIATE")
            rows = RowWriter(db, self._version, time.time())
            for minute in tiers.not_rolled_up(db, Tier.MINUTES):
                tiers.roll_up(db, Tier.MINUTES, minute)
            for hour in tiers.not_rolled_up(db, Tier.HOURS):
                tiers.roll_up(db, Tier.HOURS, hour)
            db.execute("COMMIT")
        except sqlite3.Error as e:
            db.close()
            raise problem(self.place.file, e) from None
        self._db, self._rows = db, rows

    def _tidy(self, db: sqlite3.Connection, rows: RowWriter, now_s: float) -> None:
        """Compute minutes and hours that have ended, and delete old rows. Raises: sqlite3.Error."""
        minute = int(now_s) // 60
        if self._more or minute != self._tidied:
            self._more = tiers.expire(db, now_s, self._keep)
        self._tidied = minute
        over = {one for one in rows.minutes if one < minute}
        for one in over:
            tiers.roll_up(db, Tier.MINUTES, one)
            self._hours.add(one // 60)
        rows.minutes -= over
        for hour in {hour for hour in self._hours if hour < int(now_s) // 3600}:
            tiers.roll_up(db, Tier.HOURS, hour)
            self._hours.discard(hour)

    def _forget_most(self) -> None:
        """Of batches that could not be written, keep only the latest incidents and their releases."""
        kept: dict[str, Incident] = dict(list(self._pending.incidents.items())[-REMEMBERED:])
        self._pending = HistoryBatch(
            self._pending.at_s,
            incidents=kept,
            releases=self._pending.releases[-REMEMBERED:],
            settings=self._pending.settings[-REMEMBERED:],
            watched=self._pending.watched,
        )
