"""Delivery: notices in, messages to receivers out, each receiver in a thread of its own.

`take` never blocks. One thread, `run`, decides what goes out and keeps the spool; a receiver that hangs keeps only its
own thread.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError, words
from halfopen.core.notice import Notice, ReceiverStanding, decode, encode
from halfopen.core.sections.notify import KINDS, NotifySettings
from halfopen.linux import threads
from halfopen.notify.kinds import receiver
from halfopen.notify.outlet import Outlet, OutletEntry
from halfopen.notify.pace import SendPace
from halfopen.notify.receiver import Message, Receiver
from halfopen.notify.spool import Spool, SpoolRow

# Limit of notices that wait for the deciding thread, one for each incident.
_INBOX_MOST: Final = 5_000
_LOOK_S: Final = 0.5
# How long delivery goes on after `stop`, for news that has not been sent yet.
_LAST_WORDS_S: Final = 3.0
_SPOOL_AGAIN_S: Final = 60.0
# A gap this long means that this process was stopped (SIGSTOP, a suspended machine): that nothing was heard of an
# incident in that time does not mean that it is over.
_STOOD_STILL_S: Final = 30.0


class _Result(Struct, frozen=True):
    outlet: Outlet
    messages: Sequence[Message]
    error: HalfopenError | None


_Order = Sequence[Message] | None


class Delivery:
    """Delivers notices to the receivers. spool_path: "" for no spool. say: called with a line when something fails, and
    when it works again.
    """

    def __init__(
        self,
        settings: Sequence[NotifySettings],
        spool_path: str,
        say: Callable[[str], None] = lambda _: None,
        make: Callable[[NotifySettings], Receiver] = receiver,
    ) -> None:
        """Raises: HalfopenError if a receiver cannot be set up."""
        now_s = time.monotonic()
        self._say = say
        self._outlets = [
            Outlet(one, make(one), SendPace.begun(one.rate(), now_s), KINDS[one.kind].linger_s) for one in settings
        ]
        self._inbox: dict[str, Notice] = {}
        self._overrun = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._orders: dict[int, queue.SimpleQueue[_Order]] = {}
        self._results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        self._spool_path = spool_path
        self._spool: Spool | None = None
        self._spool_again_s = 0.0
        self._spool_trouble = ""
        self._turned_s = now_s
        self._stale: list[tuple[str, str]] = []

    def take(self, notice: Notice) -> None:
        """Accept a notice, without waiting; from any thread. A newer notice of an incident replaces the one before."""
        with self._lock:
            if notice.incident not in self._inbox and len(self._inbox) >= _INBOX_MOST:
                del self._inbox[next(iter(self._inbox))]
                self._overrun += 1
            self._inbox[notice.incident] = notice
        self._wake.set()

    def standing(self) -> list[ReceiverStanding]:
        """The state of every receiver; from any thread."""
        return [
            ReceiverStanding(
                one.name,
                one.settings.kind,
                one.delivered,
                one.failed,
                one.dropped,
                sum(entry.news for entry in list(one.entries.values())),
                one.trouble,
            )
            for one in self._outlets
        ]

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set, and then for a few more seconds what has not been sent yet. Raises:
        HalfopenError if no thread can be started.
        """
        self._turned_s = time.monotonic()
        self._open_spool(self._turned_s, load=True)
        try:
            self._start()
            while not stop.is_set():
                self._turn()
                self._sleep()
            until_s = time.monotonic() + _LAST_WORDS_S
            while self._turn(last=True) and time.monotonic() < until_s:
                self._wake.wait(0.05)
                self._wake.clear()
        finally:
            for orders in self._orders.values():
                orders.put(None)
            if self._spool is not None:
                self._spool.close()

    # --- the deciding thread ------------------------------------------------------------------------------------------

    def _turn(self, *, last: bool = False) -> bool:
        """Process new notices and send what is due. Returns whether something is being sent or could be sent
        at once.
        """
        now_s = time.monotonic()
        stood_still_s, self._turned_s = now_s - self._turned_s, now_s
        self._absorb(now_s)
        self._settle(now_s)
        for outlet in self._outlets:
            if stood_still_s > _STOOD_STILL_S:
                outlet.stood_still(stood_still_s)
            outlet.expire(now_s)
            if outlet.dropped > outlet.dropped_told:
                lost, outlet.dropped_told = outlet.dropped - outlet.dropped_told, outlet.dropped
                self._say(f"notify: {outlet.name}: {lost:,} incidents were not sent: too many, or too old")
        # Write messages to the spool before they are sent.
        self._save(now_s)
        busy = False
        for place, outlet in enumerate(self._outlets):
            messages = outlet.messages(now_s, at_once=last)
            if messages:
                outlet.went_out(now_s)
                self._orders[place].put(messages)
            busy |= outlet.busy
        return busy

    def _absorb(self, now_s: float) -> None:
        with self._lock:
            notices, self._inbox = self._inbox, {}
            overrun, self._overrun = self._overrun, 0
        for notice in notices.values():
            for outlet in self._outlets:
                outlet.take(notice, now_s)
        if overrun:
            self._say(f"notify: {overrun:,} notices came faster than they could be taken in, and were dropped")

    def _settle(self, now_s: float) -> None:
        """Process the outcomes of messages that were being sent."""
        while True:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return
            outlet, trouble = result.outlet, result.outlet.trouble
            if result.error is None:
                outlet.delivered_all(result.messages, now_s)
                if trouble:
                    self._say(f"notify: {outlet.name}: takes messages again")
            else:
                outlet.refused(result.messages, result.error, now_s, random.random)
                if outlet.trouble != trouble:
                    self._say(f"notify: {outlet.name}: {outlet.trouble}")

    def _sleep(self) -> None:
        now_s = time.monotonic()
        times = [due for due in (outlet.next_s(now_s) for outlet in self._outlets) if due is not None]
        self._wake.wait(max(0.0, min(_LOOK_S, min(times, default=now_s + _LOOK_S) - now_s)))
        self._wake.clear()

    # --- the receivers' threads ---------------------------------------------------------------------------------------

    def _start(self) -> None:
        for place, outlet in enumerate(self._outlets):
            orders = self._orders[place] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._send_all, args=(outlet, orders), name=f"halfopen-to-{outlet.name}"[:15], daemon=True
            )
            threads.start(thread)

    def _send_all(self, outlet: Outlet, orders: queue.SimpleQueue[_Order]) -> None:
        while (messages := orders.get()) is not None:
            error: HalfopenError | None = None
            try:
                outlet.receiver.send(messages, outlet.settings.timeout_s)
            except HalfopenError as e:
                error = e
            except Exception as e:  # a bug in one receiver must not stop the others
                error = HalfopenError("receiver", f"failed because of a bug: {type(e).__name__}")
            self._results.put(_Result(outlet, messages, error))
            self._wake.set()

    # --- the spool ----------------------------------------------------------------------------------------------------

    def _open_spool(self, now_s: float, *, load: bool = False) -> None:
        """Open the spool. load: take over its contents; otherwise write the contents of memory to it."""
        if not self._spool_path:
            return
        try:
            self._spool = spool = Spool(self._spool_path)
            if spool.set_aside:
                self._say(f"notify: {self._spool_path} was damaged: it was renamed, and the notices in it are lost")
            if load:
                self._load(spool.rows(), now_s)
            else:
                rows = [_row(outlet.name, entry) for outlet in self._outlets for entry in outlet.entries.values()]
                spool.write(rows, (), anew=True)
                self._saved()
            if self._spool_trouble:
                self._say("notify: the spool works again")
            self._spool_trouble = ""
        except HalfopenError as e:
            self._spool_failed(e, now_s)

    def _load(self, rows: Sequence[SpoolRow], now_s: float) -> None:
        """Take over the entries of an earlier process, and delete those of receivers that no longer exist."""
        known = {outlet.name: outlet for outlet in self._outlets}
        for row in rows:
            outlet = known.get(row.receiver)
            try:
                notice, told = decode(row.notice), None if row.told is None else decode(row.told)
            except HalfopenError:
                outlet = None
            if outlet is None:
                self._stale.append((row.receiver, row.incident))
                continue
            over_s = now_s if notice.over else None
            outlet.entries[row.incident] = OutletEntry(
                notice, now_s, now_s, row.first_s, told, row.sent, now_s, over_s=over_s
            )

    def _save(self, now_s: float) -> None:
        """Write changes since the last call to the spool."""
        if self._spool is None:
            if self._spool_path and now_s >= self._spool_again_s:
                self._open_spool(now_s)
            return
        put, gone = [], self._stale
        for outlet in self._outlets:
            there = outlet.changed & outlet.entries.keys()
            put += [_row(outlet.name, outlet.entries[incident]) for incident in there]
            gone = [*gone, *((outlet.name, incident) for incident in outlet.changed - there)]
        if not (put or gone):
            return
        try:
            self._spool.write(put, gone)
            self._saved()
        except HalfopenError as e:
            self._spool_failed(e, now_s)

    def _saved(self) -> None:
        self._stale = []
        for outlet in self._outlets:
            outlet.changed.clear()

    def _spool_failed(self, error: HalfopenError, now_s: float) -> None:
        if self._spool is not None:
            self._spool.close()
        self._spool, self._spool_again_s = None, now_s + _SPOOL_AGAIN_S
        if error.line() != self._spool_trouble:
            self._spool_trouble = error.line()
            self._say(f"notify: {words(error)}; a restart would lose what waits")


def _row(receiver: str, entry: OutletEntry) -> SpoolRow:
    told = None if entry.told is None else encode(entry.told)
    return SpoolRow(receiver, entry.notice.incident, entry.first_s, encode(entry.notice), told, entry.sent)
