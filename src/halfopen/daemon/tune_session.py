"""What a `tune` command does under the journal's lock: settle what was interrupted, begin, write, record, undo."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Literal, TypeVar

from halfopen.act import sysctl
from halfopen.act.audit import who
from halfopen.act.journal import Journal, step
from halfopen.core import journal as core
from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.journal import Began, Change, Ledger, Place, Then
from halfopen.core.settings import Wanted
from halfopen.daemon import tune_timer
from halfopen.kernel import place as places
from halfopen.kernel.netns import SELF, run_in

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one wanted value. id: of the change in the journal, None where nothing had to change.

    state: done, clamped (the kernel made something else of it: `value`), refused, already.
    """

    key: str
    old: int
    asked: int
    value: int
    state: Literal["done", "clamped", "refused", "already"]
    reason: str = ""
    why: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of undoing one change. state: undone, left, gone, failed, already (not in force),
    refused (found never to have been made).

    value: what the setting holds now, where it was looked at; wrote: whether this undo set it to that.
    """

    change: Change
    state: str
    value: int | None = None
    wrote: bool = False
    why: str = ""
    # The error behind `failed`.
    error: HalfopenError | None = None


class Spaces:
    """Descriptors of the namespaces that changes were made in, each looked for once."""

    def __init__(self) -> None:
        self._fds: dict[tuple[str, int, int | None], int | None] = {}

    def put(self, place: Place, fd: int) -> None:
        self._fds[place.identity] = os.dup(fd)

    def run(self, place: Place, work: Callable[[], T]) -> T:
        """Raises: UnknownTarget when the namespace is gone, NotPermitted, and what `work` raises."""
        fd = self._find(place)
        if fd is None:
            boot = (
                "since then the machine was booted"
                if place.boot_id != places.boot_id()
                else "it is gone: nobody who could be asked holds it"
            )
            raise UnknownTarget(f"network namespace {place.name}: {boot}")
        return run_in(None if own(fd) else fd, work)

    def _find(self, place: Place) -> int | None:
        if place.identity not in self._fds:
            self._fds[place.identity] = places.find(place)
        return self._fds[place.identity]

    def close(self) -> None:
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)
        self._fds.clear()


def own(fd: int) -> bool:
    return os.path.samestat(os.fstat(fd), os.stat(SELF))


def _who() -> dict[str, object]:
    """Who it is, short enough for a record whatever the command line was."""
    person = who()
    return {**person, "command": [str(word)[:200] for word in person["command"][:24]]}


class Session:
    """The journal under its lock, and the namespaces; what a command does between begin and end."""

    def __init__(self, directory: str | None) -> None:
        self.journal = Journal(directory)
        self.spaces = Spaces()
        self.overdue: list[Undone] = []
        self._settled: set[int] = set()
        self._lock = self.journal.locked()

    def __enter__(self) -> Session:
        self._lock.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        self.spaces.close()
        self._lock.__exit__(None, None, None)

    @property
    def ledger(self) -> Ledger:
        return self.journal.ledger

    def read(self, place: Place, key: str) -> int | None:
        return self.spaces.run(place, lambda: sysctl.read(key))

    def record(self, change: Change, state: core.State, value: int | None = None, why: str = "") -> None:
        self.journal.append([Then(change.id, time.time(), state, value, why)])

    def tidy(self, asked: Container[int] = ()) -> None:
        """Settle what interrupted commands left open, and undo what is overdue, but for what is asked for anyway."""
        boot = places.boot_id()
        before = self.ledger.live()
        for change in before:
            try:
                if change.began.place.boot_id != boot:
                    self.record(change, "gone", why="the machine was booted since")
                elif change.state != "done":
                    self._settle(change)
            except UnknownTarget as e:
                self.record(change, "gone", why=e.message)
            except core.JournalError:
                raise
            except HalfopenError:
                # Not to be reached from here; whoever asks for this very change is told why.
                continue
        self._settled = {c.id for c in before if not self.ledger.changes[c.id].live}
        late = [c.id for c in self.ledger.overdue(time.time()) if c.id not in asked]
        self.overdue = [self.undo(self.ledger.changes[id]) for id in late]

    def _settle(self, change: Change) -> None:
        current = self.read(change.began.place, change.began.key)
        if current is None:
            self.record(change, "gone", why="there is no such setting any more")
        elif found := core.resolve(self.ledger, change, current):
            self.record(change, found.state, current, found.why)

    def begin(self, todo: list[Wanted], place: Place, old: dict[str, int], for_s: float | None) -> list[Began]:
        """Record on the disk what is about to be written."""
        now = time.time()
        until = None if for_s is None else now + for_s
        passed = [
            Then(c.id, now, "left", old[w.key], core.foreign(old[w.key]))
            for w in todo
            for c in core.overtaken(self.ledger, place, w.key, old[w.key])
        ]
        first = self.ledger.next_id
        begun = [Began(first + i, now, who(), place, w.key, old[w.key], w.value, until) for i, w in enumerate(todo)]
        self.journal.append([*passed, *begun])
        return begun

    def arm(self, begun: list[Began], fd: int) -> str:
        until = begun[0].until_s
        try:
            return tune_timer.arm([b.id for b in begun], until or 0.0, begun[0].place, fd, self.journal.directory)
        except HalfopenError as e:
            self._refuse(begun, e.message)
            raise

    def _refuse(self, begun: list[Began], why: str) -> None:
        open_still = [b for b in begun if self.ledger.changes[b.id].state == "begun"]
        try:
            self.journal.append([Then(b.id, time.time(), "refused", b.old, why[:1000]) for b in open_still])
        except core.JournalError:
            # Nothing was written, or it was taken back: the next command sees that from the values.
            pass

    def write(self, begun: list[Began], place: Place) -> dict[str, Applied]:
        """Write what began, and record it: all that the kernel takes, or nothing."""
        done: dict[str, Applied] = {}
        written: list[Began] = []
        try:
            for b in begun:
                # Before the write: whatever interrupts it, the value is looked at on the way back.
                written.append(b)
                done[b.key] = self._write_one(b, place)
                step("apply.written")
            self.journal.append(
                [
                    Then(a.id, time.time(), "refused" if a.state == "refused" else "done", a.value, a.why)
                    for a in done.values()
                    if a.id is not None
                ]
            )
        except BaseException as e:
            self._take_back(written, place)
            self._refuse(begun, f"taken back: {e.message if isinstance(e, HalfopenError) else type(e).__name__}")
            raise
        step("apply.done")
        return done

    def _write_one(self, b: Began, place: Place) -> Applied:
        try:
            held = self.spaces.run(place, lambda: sysctl.write(b.key, b.new))
        except sysctl.Refused as e:
            return Applied(b.key, b.old, b.new, b.old, "refused", why=e.message, id=b.id)
        if held == b.new:
            return Applied(b.key, b.old, b.new, held, "done", id=b.id)
        if held == b.old:
            return Applied(b.key, b.old, b.new, held, "refused", why=f"the kernel keeps {held}", id=b.id)
        return Applied(b.key, b.old, b.new, held, "clamped", why=f"the kernel made it {held}", id=b.id)

    def _take_back(self, written: list[Began], place: Place) -> None:
        for b in reversed(written):
            # Interrupted after it was recorded: it is done, and the journal says so.
            if self.ledger.changes[b.id].state != "begun":
                continue
            try:
                if self.read(place, b.key) != b.old:
                    self.spaces.run(place, lambda b=b: sysctl.write(b.key, b.old))  # type: ignore[misc]
            except HalfopenError:
                # It stays in the journal as begun, and the next undo sees it in force.
                continue

    def undo(self, change: Change) -> Undone:
        """Undo one change, whatever its state."""
        if not change.live:
            if change.id in self._settled:
                return Undone(change, change.state, why=change.why)
            return Undone(change, "already", why=f"it is {change.state}")
        key, place = change.began.key, change.began.place
        try:
            current = self.read(place, key)
        except UnknownTarget as e:
            return self._end(change, "gone", None, e.message)
        except HalfopenError as e:
            return Undone(change, "failed", why=e.message, error=e)
        if current is None:
            return self._end(change, "gone", None, "there is no such setting any more")
        plan = core.undo_step(self.ledger, change, current)
        if plan.write is None:
            return self._end(change, plan.state, current, plan.why)
        return self._write_undo(change, plan.write)

    def _end(self, change: Change, state: core.State, value: int | None, why: str, *, wrote: bool = False) -> Undone:
        self.record(change, state, value, why)
        step("undo.undone")
        return Undone(change, state, value, wrote, why)

    def _write_undo(self, change: Change, to: int) -> Undone:
        key, place = change.began.key, change.began.place
        self.record(change, "undoing")
        step("undo.undoing")
        try:
            held = self.spaces.run(place, lambda: sysctl.write(key, to))
        except HalfopenError as e:
            self.record(change, "done", change.value, e.message[:1000])
            return Undone(change, "failed", change.value, why=e.message, error=e)
        step("undo.written")
        try:
            return self._end(
                change, "undone", held, "" if held == to else f"the kernel made {held} of {to}", wrote=True
            )
        except core.JournalError:
            # What cannot be recorded is not done.
            self.spaces.run(place, lambda: sysctl.write(key, change.value))
            raise
