"""What a `tune` command does under the journal's lock: settle what was interrupted, begin, write, record, undo."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal

from halfopen.change import sysctl_d as sysctld
from halfopen.change.audit import who
from halfopen.change.journal_file import Journal, step
from halfopen.core.errors import HalfopenError, JournalError, Refused, UnknownTarget, UsageError, words
from halfopen.core.tune import boots, undoing
from halfopen.core.tune.ledger import Change, Clocks, Ledger
from halfopen.core.tune.records import Began, State, Then
from halfopen.core.tune.spots import Place, Spot
from halfopen.linux.identity import boot_id
from halfopen.ops.tune import timer as tune_timer
from halfopen.ops.tune.backends import Spots
from halfopen.read import place as places

# What a person gives as the reason of a change or an undo, in characters.
MOST_REASON: Final = 500
# Why a number is there though nothing was set before.
STANDS: Final = "TCP_SYNCNT cannot be unset: {} stands in for it, and follows tcp_synack_retries"


@dataclass(frozen=True, slots=True)
class Todo:
    """A value to be written: where, what is there, what is to be there, why, and what it costs."""

    spot: Spot
    old: int | None
    new: int | None
    reason: str = ""
    cost: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one wanted value. id: of the change in the journal, None where nothing had to change.

    state: done, clamped (the kernel made something else of it: `value`), refused, already.
    """

    spot: Spot
    old: int | None
    asked: int | None
    value: int | None
    state: Literal["done", "clamped", "refused", "already"]
    reason: str = ""
    why: str = ""
    id: int | None = None
    cost: str = ""

    @property
    def key(self) -> str:
        return self.spot.key


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of each change; and, when they return by themselves, at what Unix time and who sees to it."""

    applied: list[Applied]
    until_s: float | None
    returns_by: str


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of undoing one change. state: undone, left, gone, failed, already (not in force),
    refused (found never to have been made).

    value: what is there now, or, where it was not looked at, what the change set; wrote: whether this undo set that.
    """

    change: Change
    state: str
    value: int | None
    wrote: bool = False
    why: str = ""
    # The error behind `failed`.
    error: HalfopenError | None = None


def check_reason(reason: str) -> None:
    """Raises: UsageError for a reason that is too long for the journal."""
    if len(reason) > MOST_REASON:
        raise UsageError(f"a reason of {len(reason):,} characters is too long", hint=f"at most {MOST_REASON}")


def _with_reason(why: str, reason: str) -> str:
    """What happened, and the reason that was given for it, as `Then.why`."""
    return "; ".join(filter(None, [why, reason and f"reason to undo: {reason}"]))


def _who(reason: str) -> dict[str, object]:
    """Who it is and, where it was said, why: short enough for a record whatever the command line was."""
    person = who()
    more = {"reason": reason} if reason else {}
    return {**person, "command": [str(word)[:200] for word in person["command"][:24]], **more}


class Session:
    """The journal under its lock, and what it is about; what a command does between begin and end."""

    def __init__(self, directory: str | None, reason: str = "") -> None:
        check_reason(reason)
        self._reason = reason
        self.journal = Journal(directory)
        self.spots = Spots()
        self.overdue: list[Undone] = []
        self._settled: set[int] = set()
        self._lock = self.journal.locked()

    def __enter__(self) -> Session:
        self._lock.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        self.spots.close()
        self._lock.__exit__(None, None, None)

    @property
    def ledger(self) -> Ledger:
        return self.journal.ledger

    def read(self, spot: Spot) -> int | None:
        """What is there now, None for nothing. Raises: as `Backend.read`."""
        ours = [c.value for c in self.ledger.stack(spot)]
        return self.ledger.seen(spot, self.spots.read(spot, ours))

    def record(
        self, change: Change, state: State, value: int | None = None, why: str = "", instead: int | None = None
    ) -> None:
        self.journal.append([Then(change.id, time.time(), state, value, why, instead)])

    def tidy(self, asked: Container[int] = ()) -> None:
        """Settle what interrupted commands left open, and undo what is overdue, but for what is asked for anyway."""
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
                # Not to be reached from here; whoever asks for this very change is told why.
                continue
        self._after_boot(boot)
        self._settled = {c.id for c in before if not self.ledger.changes[c.id].live}
        self.overdue = self.undo_all([c.id for c in self.ledger.overdue(places.clocks()) if c.id not in asked])

    def _after_boot(self, boot: str) -> None:
        """Settle the changes of other boots, see core.boots."""
        keys = boots.keys_to_look_at(self.ledger, boot)
        here: Place | None = None
        values: dict[str, int | None] = {}
        if keys:
            # Where that is refused, they stay open: whoever asks for them is told why.
            with suppress(HalfopenError):
                here = places.booted()
                values = {key: self.spots.read(Spot(here, key)) for key in keys}
        self.journal.append(boots.after(self.ledger, time.time(), boot, here, values))

    def _settle(self, change: Change) -> None:
        if change.spot.lasting:
            sysctld.clean()
        current = self.read(change.spot)
        if found := undoing.resolve(self.ledger, change, current):
            # An interrupted undo keeps the reason that was given for it.
            why = "; ".join(filter(None, [found.why, change.why if change.state == "undoing" else ""]))
            self.record(change, found.state, current, why)

    def carry_out(self, todo: Sequence[Todo], for_s: float | None, netns_fd: int) -> Carried:
        """Make these changes: all of them, but for those that are refused, or none. Those that are so already are left.

        for_s: undo them after so many seconds. netns_fd: a namespace to hold open until then.

        Raises: NotPermitted, JournalError, KernelError, Unsupported (`tune_timer.risk`); nothing is changed then.
        """
        if for_s is not None and todo:
            tune_timer.risk(todo[0].spot.place.path)
        begun = self._begin([t for t in todo if t.old != t.new], for_s)
        step("apply.begun")
        returns_by = ""
        if begun and for_s is not None:
            returns_by = self._arm(begun, netns_fd)
            step("apply.armed")
        done = iter(self._write(begun))
        self._follow()
        applied = [
            replace(next(done), reason=t.reason, cost=t.cost)
            if t.old != t.new
            else Applied(t.spot, t.old, t.new, t.old, "already", t.reason)
            for t in todo
        ]
        return Carried(applied, begun[0].until_s if begun else None, returns_by)

    def _begin(self, todo: Sequence[Todo], for_s: float | None) -> list[Began]:
        """Record on the disk what is about to be written."""
        clocks = places.clocks()
        now = clocks.wall_s
        passed = [
            Then(c.id, now, "left", t.old, undoing.foreign(t.old))
            for t in todo
            for c in undoing.overtaken(self.ledger, t.spot, t.old)
        ]
        first = self.ledger.next_id
        begun = [self._began(first + i, clocks, t, for_s) for i, t in enumerate(todo)]
        self.journal.append([*passed, *begun])
        return begun

    def _began(self, id: int, now: Clocks, t: Todo, for_s: float | None) -> Began:
        spot, instead = t.spot, self.spots.instead(t.spot, t.old)
        until = (None, None) if for_s is None else (now.wall_s + for_s, now.boot_s + for_s)
        return Began(
            *(id, now.wall_s, _who(self._reason), spot.place, spot.key, t.old, t.new, until[0]),
            *(spot.listener, spot.file, instead, until[1]),
        )

    def _arm(self, begun: Sequence[Began], fd: int) -> str:
        try:
            return tune_timer.arm(begun, fd, self.journal.directory)
        except BaseException as e:
            self._refuse(begun, e.message if isinstance(e, HalfopenError) else words(e))
            raise

    def _refuse(self, begun: Sequence[Began], why: str) -> None:
        open_still = [b for b in begun if self.ledger.changes[b.id].state == "begun"]
        try:
            self.journal.append([Then(b.id, time.time(), "refused", b.old, why[:1000]) for b in open_still])
        except JournalError:
            # Nothing was written, or it was taken back: the next command sees that from the values.
            pass

    def _write(self, begun: Sequence[Began]) -> list[Applied]:
        """Write what began, and record it: all that is taken, or nothing."""
        done: list[Applied] = []
        written: list[Began] = []
        try:
            for b in begun:
                # Before the write: whatever interrupts it, the value is looked at on the way back.
                written.append(b)
                done.append(self._write_one(b, done))
                step("apply.written")
            self.journal.append(
                [
                    Then(b.id, time.time(), "refused" if a.state == "refused" else "done", a.value, a.why)
                    for b, a in zip(begun, done, strict=True)
                ]
            )
        except BaseException as e:
            self._take_back(written)
            self._refuse(begun, f"taken back: {e.message if isinstance(e, HalfopenError) else type(e).__name__}")
            raise
        step("apply.done")
        return done

    def _write_one(self, b: Began, before: Sequence[Applied]) -> Applied:
        if b.spot.lasting and any(a.key == b.key and a.state == "refused" for a in before):
            return Applied(b.spot, b.old, b.new, b.old, "refused", why="what the kernel refuses is not kept", id=b.id)
        try:
            held = self.spots.write(b.spot, b.new)
        except Refused as e:
            return Applied(b.spot, b.old, b.new, b.old, "refused", why=e.message, id=b.id)
        if held == b.new:
            return Applied(b.spot, b.old, b.new, held, "done", id=b.id)
        if held == b.old:
            return Applied(b.spot, b.old, b.new, held, "refused", why=f"the kernel keeps {held}", id=b.id)
        return Applied(b.spot, b.old, b.new, held, "clamped", why=f"the kernel made it {held}", id=b.id)

    def _take_back(self, written: Sequence[Began]) -> None:
        for b in reversed(written):
            # Interrupted after it was recorded: it is done, and the journal says so.
            if self.ledger.changes[b.id].state != "begun":
                continue
            try:
                if self.read(b.spot) != b.old:
                    self.spots.write(b.spot, b.old if b.instead is None else b.instead)
            except HalfopenError:
                # It stays in the journal as begun, and the next undo sees it in force.
                continue

    def undo_all(self, ids: Iterable[int], reason: str = "") -> list[Undone]:
        """Undo these changes, whatever their state; what became of them, by id. reason: why, for the journal."""
        # Lines of the file first: should the machine go down in between, it does not set again what was undone.
        # Listeners last: what somaxconn lets one have, and what stands for an unset TCP_SYNCNT, follow from settings.
        # Of one spot the lower ones first: they write nothing, and the topmost goes straight to where it ends.
        changes = (self.ledger.changes[id] for id in ids)
        order = sorted(changes, key=lambda c: (not c.spot.lasting, c.spot.listener is not None, c.id))
        undone = [self._undo(c, reason) for c in order]
        self._follow()
        return sorted(undone, key=lambda u: u.change.id)

    def _undo(self, change: Change, reason: str) -> Undone:
        if not change.live:
            if change.id in self._settled:
                return Undone(change, change.state, change.value, why=change.why)
            return Undone(change, "already", change.value, why=f"it is {change.state}")
        try:
            current = self.read(change.spot)
        except UnknownTarget as e:
            return self._end(change, "gone", change.value, e.message, reason)
        except HalfopenError as e:
            return Undone(change, "failed", change.value, why=e.message, error=e)
        plan = undoing.undo_step(self.ledger, change, current)
        if not plan.writes:
            return self._end(change, plan.state, current, plan.why, reason)
        return self._write_undo(change, plan.value, reason)

    def _end(
        self, change: Change, state: State, value: int | None, why: str, reason: str, *, wrote: bool = False
    ) -> Undone:
        why = _with_reason(why, reason)
        self.record(change, state, None if state == "gone" else value, why)
        step("undo.undone")
        return Undone(change, state, value, wrote, why)

    def _stays(self, change: Change) -> str:
        """What to say of an entry whose value a boot has set and that nothing in the journal leads back from."""
        if not change.spot.lasting or change.began.place.boot_id == boot_id():
            return ""
        with suppress(HalfopenError):
            running = Spot(places.booted(), change.began.key)
            if not self.ledger.stack(running) and self.spots.read(running) == change.value:
                key = change.began.key.rpartition(".")[2]
                return f"the running value stays {change.value}: halfopen tune apply --set {key}=VALUE changes it"
        return ""

    def _write_undo(self, change: Change, to: int | None, reason: str) -> Undone:
        try:
            instead = self.spots.instead(change.spot, to)
            self.record(change, "undoing", why=_with_reason("", reason), instead=instead)
            step("undo.undoing")
            held = self.spots.write(change.spot, to if instead is None else instead)
        except JournalError:
            raise
        except UnknownTarget as e:
            return self._end(change, "gone", change.value, e.message, reason)
        except HalfopenError as e:
            self.record(change, "done", change.value, e.message[:1000])
            return Undone(change, "failed", change.value, why=e.message, error=e)
        step("undo.written")
        try:
            why = self._stays(change) if held == to else f"the kernel made {undoing.shown(held)} of {undoing.shown(to)}"
            if instead is not None and held == instead:
                why = STANDS.format(held)
            return self._end(change, "undone", held, why, reason, wrote=True)
        except JournalError:
            # What cannot be recorded is not done.
            self.spots.write(change.spot, change.value)
            raise

    def _follow(self) -> None:
        """Where a number stands for an unset TCP_SYNCNT, see that it is the one that behaves so now."""
        for change in self.ledger.standing():
            try:
                self._follow_one(change)
            except JournalError:
                # Left to the next command; what this one did is done and recorded.
                return
            except HalfopenError:
                continue

    def _follow_one(self, change: Change) -> None:
        spot = change.spot
        try:
            now, wanted = self.spots.read(spot, ()), self.spots.instead(spot, None)
        except UnknownTarget as e:
            self.record(change, change.state, change.value, e.message)
            return
        if now not in self.ledger.instead[spot.identity]:
            # Nothing was written in the first place, or somebody else has set it since.
            self.record(change, change.state, now, change.why)
        elif now != wanted and wanted is not None:
            self.record(change, change.state, wanted, STANDS.format(wanted), wanted)
            step("follow.recorded")
            self.spots.write(spot, wanted)
