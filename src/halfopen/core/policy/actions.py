"""Everything that halfopen may do, as frozen data: each action with its reason, and with an undo where one exists.

An action is what a finding proposes as a cure, what a plan shows, what is confirmed and what the Executor
(`ops/executor.py`) carries out: always the same object. `Released` is the outcome of a Release. The actions on existing
connections are in `connection_actions.py`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field
from msgspec.structs import asdict

from halfopen.core.policy.look import Look as Look
from halfopen.core.sparing import Sparing
from halfopen.core.where import ListenerKey, Namespace

if TYPE_CHECKING:
    from halfopen.core.filters import Filter
    from halfopen.core.sample.guard import GuardCounts
    from halfopen.core.tune.spots import Spot
    from halfopen.core.units import Endpoint, Network


class Release(Struct, frozen=True):
    """Drop the half-open connections of a namespace that a filter lets through. There is no undo: a client that still
    wants to connect retransmits its SYN.

    sparing: whom it leaves alone all the same. most: no more than this many; None: all. policy: the name of the policy
    of `watch` that decided it, "" where none did; decided_by: the numbers and words that it decided by; incidents: the
    ids of those that were on.
    """

    where: Namespace
    filter: Filter
    reason: str
    incidents: tuple[str, ...] = ()
    sparing: Sparing = Sparing()
    most: int | None = None
    policy: str = ""
    decided_by: tuple[tuple[str, int | float | str], ...] = ()

    @property
    def netns(self) -> str:
        """The namespace's name, as --netns takes it."""
        return self.where.name


class Withholding(Enum):
    """Why a release that a policy decided is not carried out."""

    OBSERVES = "observes"
    FORBIDDEN = "forbidden"
    CANNOT_TELL = "cannot-tell"
    BUDGET = "budget"


class Withheld(Struct, frozen=True):
    """A release that a policy decided and that is not carried out, said once while that lasts. It is recorded, and
    changes nothing.

    listener: the one concerned, None for the namespace. matching: how many connections it would find; None: not known.
    why, detail: the reason not to, and what of it there is to say.
    """

    release: Release
    listener: ListenerKey | None
    why: Withholding
    matching: int | None = None
    detail: str = ""


AUTO: Final = "auto"


class Protect(Struct, frozen=True):
    """Answer SYNs without keeping state of them, for listeners of a namespace while their SYN queue is full to a share.

    Undo: `halfopen protect off`, or the end of the process; connections that it let in stay. listeners: (address or
    None for any, port); empty: all that can be guarded. share: 0 to 1 of the SYN queue. for_s: None: until it is
    stopped. policy: the name of the policy of `watch` that decided it, "" where none did: then every one of `listeners`
    must be there. incidents: the ids of those that were on. never: listeners that are left alone. rung: one of
    `core.sample.guard.RUNGS`, or "auto": the best that this host has.
    """

    where: Namespace
    listeners: tuple[Endpoint, ...]
    reason: str
    share: float = 0.25
    for_s: float | None = None
    policy: str = ""
    incidents: tuple[str, ...] = ()
    never: tuple[Endpoint, ...] = ()
    rung: str = AUTO

    @property
    def netns(self) -> str:
        """The namespace's name, as --netns takes it."""
        return self.where.name


class EndGuard(Struct, frozen=True):
    """Take the guard that a policy of this process armed in a namespace off again. Undo: Protect."""

    where: Namespace
    reason: str


class GuardWithheld(Struct, frozen=True):
    """A guard that a policy would arm and that is not armed, said once while that lasts. It is recorded, and changes
    nothing. why, detail: as in `Withheld`.
    """

    protect: Protect
    why: Withholding
    detail: str = ""


class Unprotect(Struct, frozen=True):
    """End the guards of a namespace (its inode), or of all (None), that other processes hold. No undo: arm it again."""

    netns: str
    inode: int | None
    reason: str


class Block(Struct, frozen=True):
    """Drop the TCP packets of sources (to one port, or to all: None) in a namespace for a time, by a packet filter.

    Undo: Unblock, or the end of that time.
    """

    where: Namespace
    sources: tuple[Network, ...]
    for_s: float
    reason: str
    port: int | None = None


class Unblock(Struct, frozen=True):
    """Take blocks of sources away, or (empty) all of halfopen's. Undo: Block."""

    where: Namespace
    sources: tuple[Network, ...]
    reason: str


class FoundValue(Struct, frozen=True):
    """Where exactly a change is to be made, and the value that was there when it was planned (None: not set)."""

    spot: Spot
    value: int | None


class ChangeSetting(Struct, frozen=True):
    """Set a sysctl of a network namespace, key by its full name. Undo: set what was there before.

    cost: what is worse afterwards. found: None as long as it is only proposed; the Executor carries out what was found.
    """

    netns: str
    key: str
    value: int
    reason: str
    cost: str = ""
    found: FoundValue | None = None


class ChangeListener(Struct, frozen=True):
    """Set an option (BACKLOG, RETRIES or DEFER of `core.tune.listener`) of the listeners on [address]:port.

    Undo: set what was there before. found: of one of these sockets. asked: what was wanted where only `value` can be
    had, why: the reason for that.
    """

    netns: str
    address: str
    port: int
    key: str
    value: int
    reason: str
    cost: str = ""
    asked: int | None = None
    why: str = ""
    found: FoundValue | None = None


class ChangeLine(Struct, frozen=True):
    """Set the line of a key in our file of sysctl.d, so that a boot sets the value again. Undo: as it was before."""

    file: str
    key: str
    value: int
    reason: str
    found: FoundValue | None = None


class Undo(Struct, frozen=True):
    """Undo changes by their ids in the journal, or (None) all that are in force. No undo: each can be made again.

    reason: why, for the records. timed: their time is up.
    """

    ids: tuple[int, ...] | None
    reason: str = ""
    timed: bool = False


# The changes that have an undo: the journal of `tune` holds what leads back.
PlannedChange = ChangeSetting | ChangeListener | ChangeLine


class Released(Struct, frozen=True):
    """The outcome of a Release.

    matched: half-open connections tried (dry run: that would be). released, gone (completed or expired between look and
    destroy), failed: their sum is matched. resets: OutRsts that the namespace sent meanwhile, the most completed
    connections that can have been hit; None when it could not be read. left: matching ones seen by the look afterwards.
    spared: requests that the filter would have matched, but that answered or may have: deferred-accept ones, and with
    an accept queue that is full or was. may_have_answered: those of them that only eBPF could tell. untouched: those
    that the release is to spare. held: the door was held, so that no connection could complete between look and destroy
    and be hit. window_ms, window_max_ms: the usual (median) and the longest time between look and destroy, 0 with the
    door held. stopped: Ctrl-C or `stop` ended it early. problems: what was not complete. notes: what was done in
    another way than usual, and what follows.
    """

    action: Release
    matched: int = 0
    released: int = 0
    gone: int = 0
    failed: int = 0
    resets: int | None = 0
    left: int = 0
    spared: int = 0
    untouched: int = 0
    may_have_answered: int = 0
    held: bool = False
    dry_run: bool = False
    seconds: float = 0.0
    window_ms: float = 0.0
    window_max_ms: float = 0.0
    interrupted: bool = False
    stopped: bool = False
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


class Protected(Struct, frozen=True):
    """The outcome of a Protect.

    guarded: the listeners, as :443. ended: why it ended (`time`, `stopped`, `futile`: nothing came of cookies that came
    back, `cookies-off`); empty in a dry run. counts: over all that time. completions: handshakes that finished in the
    namespace meanwhile, None where not known. notes: what is not guarded, and what is done in another way than usual.
    rung: that it was. why: a policy took it off; "" where none did.
    """

    action: Protect
    guarded: tuple[str, ...]
    counts: GuardCounts
    ended: str = ""
    completions: int | None = None
    seconds: float = 0.0
    dry_run: bool = False
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    rung: str = ""
    why: str = ""

    def as_record(self) -> dict[str, Any]:
        """What the audit log holds of it."""
        return {
            "guarded": list(self.guarded),
            "rung": self.rung,
            "ended": self.ended,
            "seconds": round(self.seconds, 3),
            "completions": self.completions,
            "counts": asdict(self.counts),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


class Unprotected(Struct, frozen=True):
    """The outcome of an Unprotect: the processes whose guards are off, and what was not complete."""

    action: Unprotect
    pids: tuple[int, ...] = ()
    problems: tuple[str, ...] = field(default=())

    def as_record(self) -> dict[str, Any]:
        """What the audit log holds of it."""
        return {"pids": list(self.pids), "problems": list(self.problems)}


class BlocksChanged(Struct, frozen=True):
    """The outcome of a Block or an Unblock: the sources that are blocked now, or no longer, as text."""

    action: Block | Unblock
    sources: tuple[str, ...] = ()
    dry_run: bool = False
    problems: tuple[str, ...] = field(default=())

    def as_record(self) -> dict[str, Any]:
        """What the audit log holds of it."""
        return {"sources": list(self.sources), "problems": list(self.problems)}
