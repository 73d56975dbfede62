"""The journal under its lock, for the whole of a command: what interrupted commands left open is settled here first."""

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

# Why a number is there though nothing was set before.
STANDS: Final = "TCP_SYNCNT cannot be unset: {value} stands in for it, and follows tcp_synack_retries"


class View:
    """A context manager: what the journal says and what is there, without a lock and without changing anything."""

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
        """What the journal says."""
        return self.journal.ledger

    def read(self, spot: Spot) -> int | None:
        """The value there now, None where nothing is set. Raises: as `Backend.read`."""
        ours = [c.value for c in self.ledger.stack(spot)]
        return self.ledger.seen(spot, self.spots.read(spot, ours))


class Session(View):
    """A context manager: the journal for this process alone, to change what it is about.

    reason: why, for the journal. checkpoint: passed at each step after which a crash must leave nothing half done.
    """

    def __init__(self, directory: str | None = None, reason: str = "", checkpoint: Checkpoint = go_on) -> None:
        super().__init__(directory, checkpoint)
        check_reason(reason)
        self.reason = reason
        self.checkpoint = checkpoint
        # Changes that were live when this command began and were found not to be.
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
        """Record that a change is in another state. Raises: JournalError."""
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
                # It cannot be reached from here; a command that asks for this very change is told why.
                continue
        self._after_boot(boot)
        self.settled = {c.id for c in before if not self.ledger.changes[c.id].live}

    def _after_boot(self, boot: str) -> None:
        """Settle the changes of other boots, see core.tune.boots."""
        keys = boots.keys_to_look_at(self.ledger, boot)
        here: Place | None = None
        values: dict[str, int | None] = {}
        if keys:
            # Where that is refused, they stay open; a command that asks for them is told why.
            with suppress(HalfopenError):
                here = netns_lookup.booted()
                values = {key: self.spots.read(Spot(here, key)) for key in keys}
        self.append(boots.after(self.ledger, time.time(), boot, here, values))

    def _settle(self, change: Change) -> None:
        if change.spot.lasting:
            sysctl_file.clean()
        current = self.read(change.spot)
        if found := undoing.resolve(self.ledger, change, current):
            # An interrupted undo keeps the reason that was given for it.
            why = "; ".join(filter(None, [found.why, change.why if change.state == "undoing" else ""]))
            self.record(change, found.state, current, why)

    def follow(self) -> None:
        """Where a number stands for an unset TCP_SYNCNT, see that it is the one that behaves so now."""
        for change in self.ledger.standing():
            try:
                self._follow(change)
            except JournalError:
                # Left to the next command; the changes of this one are made and recorded.
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
            # Either the value was never written, or somebody else has set it since.
            self.record(change, change.state, now, change.why)
        elif now != wanted and wanted is not None:
            self.record(change, change.state, wanted, STANDS.format(value=wanted), wanted)
            self.checkpoint("follow.recorded")
            self.spots.write(spot, wanted)
