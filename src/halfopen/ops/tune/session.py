"""The journal under its lock, during a command. First settles what interrupted commands left open."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from halfopen.change import sysctl_file
from halfopen.change.journal_file import Journal
from halfopen.core.errors import HalfopenError, JournalError, UnknownTarget
from halfopen.core.tune import boots, undoing
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.tune.ledger import Change, Ledger
from halfopen.core.tune.plan import check_reason
from halfopen.core.tune.records import ChangeState, Record, Then
from halfopen.core.tune.spots import Place, Spot
from halfopen.linux.identity import boot_id
from halfopen.ops.tune.spot_io import Spots
from halfopen.read import netns_lookup

# The reason of an undo that writes a number although the option was not set before.
STANDS: Final = "TCP_SYNCNT cannot be unset: {value} stands in for it, and follows tcp_synack_retries"


class View:
    """A context manager: the journal and the present values, read without a lock and without changing anything."""

    def __init__(self, directory: str | None = None, checkpoint: Checkpoint = go_on) -> None:
        self.journal = Journal(directory)
        self.spots = Spots(checkpoint)

    def __enter__(self) -> Self:
        self.journal.ledger = self.journal.look()
        return self

    def __exit__(self, *what: object) -> None:
        self.spots.close()

    @property
    def ledger(self) -> Ledger:
        """The content of the journal."""
        return self.journal.ledger

    def read(self, spot: Spot) -> int | None:
        """The present value; None: not set. Raises: as `Backend.read`."""
        ours = [c.value for c in self.ledger.stack(spot)]
        return self.ledger.seen(spot, self.spots.read(spot, ours))


class Session(View):
    """A context manager: the journal, locked for this process, to make and undo changes.

    reason: why, for the journal. checkpoint: passed at each step after which a crash must leave nothing half done.
    """

    def __init__(self, directory: str | None = None, reason: str = "", checkpoint: Checkpoint = go_on) -> None:
        super().__init__(directory, checkpoint)
        check_reason(reason)
        self.reason = reason
        self.checkpoint = checkpoint
        # Changes that were in force in the journal when this command began, but turned out not to be.
        self.settled: set[int] = set()
        self._lock = self.journal.locked()

    def __enter__(self) -> Self:
        self._lock.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        super().__exit__(*what)
        self._lock.__exit__(None, None, None)

    def append(self, records: Sequence[Record]) -> None:
        """Raises: JournalError; nothing was recorded then."""
        self.journal.append(records)

    def record(
        self, change: Change, state: ChangeState, value: int | None = None, why: str = "", instead: int | None = None
    ) -> None:
        """Record the new state of a change. Raises: JournalError."""
        self.append([Then(change.id, time.time(), state, value, why, instead)])

    def settle(self) -> None:
        """Settle what interrupted commands left open and what a boot ended. Raises: JournalError."""
        boot = boot_id()
        before = self.ledger.live()
        for change in before:
            try:
                if change.state != "done" and (change.began.place.boot_id == boot or change.spot.lasting):
                    self._settle(change)
            except UnknownTarget as e:
                self.record(change, "gone", why=e.message)
            except JournalError:
                raise
            except HalfopenError:
                # It cannot be reached from here. A command for this very change gives the reason.
                continue
        self._after_boot(boot)
        self.settled = {c.id for c in before if not self.ledger.changes[c.id].live}

    def _after_boot(self, boot: str) -> None:
        """Settle the changes of other boots, see core.tune.boots."""
        keys = boots.keys_to_look_at(self.ledger, boot)
        here: Place | None = None
        values: dict[str, int | None] = {}
        if keys:
            # If that is refused, they stay open. A command for these changes gives the reason.
            with suppress(HalfopenError):
                here = netns_lookup.booted()
                values = {key: self.spots.read(Spot(here, key)) for key in keys}
        self.append(boots.after(self.ledger, time.time(), boot, here, values))

    def _settle(self, change: Change) -> None:
        if change.spot.lasting:
            sysctl_file.clean()
        current = self.read(change.spot)
        if found := undoing.resolve(self.ledger, change, current):
            # Keep the reason of an undo that was interrupted.
            why = "; ".join(filter(None, [found.why, change.why if change.state == "undoing" else ""]))
            self.record(change, found.state, current, why)

    def follow(self) -> None:
        """Set numbers that stand for a TCP_SYNCNT which was not set to the present tcp_synack_retries."""
        for change in self.ledger.standing():
            try:
                self._follow(change)
            except JournalError:
                # Left to the next command: the changes of this one are made and recorded already.
                return
            except HalfopenError:
                continue

    def _follow(self, change: Change) -> None:
        spot = change.spot
        try:
            now, wanted = self.spots.read(spot, ()), self.spots.instead(spot, None)
        except UnknownTarget as e:
            self.record(change, change.state, change.value, e.message)
            return
        if now not in self.ledger.instead[spot.identity]:
            # Either our value was never written, or another program has set the value since.
            self.record(change, change.state, now, change.why)
        elif now != wanted and wanted is not None:
            self.record(change, change.state, wanted, STANDS.format(value=wanted), wanted)
            self.checkpoint("follow.recorded")
            self.spots.write(spot, wanted)
