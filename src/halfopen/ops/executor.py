"""Carries out actions, with a line in the audit log before and after each; nothing else writes such lines. An executor
for dry runs changes nothing and records nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec.structs import replace

from halfopen.change.audit import AuditLog, who
from halfopen.core.errors import HalfopenError, UsageError, words
from halfopen.core.fields.released import released
from halfopen.core.policy.actions import (
    Block,
    BlocksChanged,
    GuardWithheld,
    Protect,
    Protected,
    Release,
    Released,
    Unblock,
    Undo,
    Unprotect,
    Unprotected,
    Withheld,
)
from halfopen.core.policy.caches import CachesDropped, DropCaches
from halfopen.core.policy.connection_actions import ChangeConnections, ChangedConnections, RestoreOptions
from halfopen.core.policy.silence import Silence, Unsilence
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.units import endpoint_words
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent
from halfopen.ops import signals

if TYPE_CHECKING:
    from halfopen.core.model.answered import Calm
    from halfopen.core.model.clients import KnownClients
    from halfopen.core.policy.guarding import GuardReading
    from halfopen.core.tune.outcomes import Tuned, Undid
    from halfopen.core.tune.plan import Plan
    from halfopen.core.units import Network

Result = TypeVar(
    "Result",
    "Released",
    "Tuned",
    "Undid",
    "Protected",
    "Unprotected",
    "ChangedConnections",
    "BlocksChanged",
    "CachesDropped",
)


class Executor:
    """Executes actions one at a time.

    audit_log: the file, instead of the default. directory: of the journal of `tune`, instead of the default.
    checkpoint: called at each step of a change of `tune`.
    """

    def __init__(
        self,
        audit_log: str | None = None,
        *,
        dry_run: bool = False,
        directory: str | None = None,
        checkpoint: Checkpoint = go_on,
    ) -> None:
        self.audit = AuditLog(audit_log)
        self.dry_run = dry_run
        self.directory = directory
        self._checkpoint = checkpoint

    @overload
    def execute(
        self,
        action: Release,
        ns: Netns,
        *,
        stop: threading.Event | None = None,
        within_s: float | None = None,
        calm: Calm | None = None,
        clients: KnownClients | None = None,
    ) -> Released: ...

    @overload
    def execute(self, action: Plan) -> Tuned: ...

    @overload
    def execute(self, action: Undo) -> Undid: ...

    @overload
    def execute(
        self, action: ChangeConnections | RestoreOptions, ns: Netns, *, stop: threading.Event | None = None
    ) -> ChangedConnections: ...

    def execute(
        self,
        action: Release | Plan | Undo | ChangeConnections | RestoreOptions,
        ns: Netns | None = None,
        *,
        stop: threading.Event | None = None,
        within_s: float | None = None,
        calm: Calm | None = None,
        clients: KnownClients | None = None,
    ) -> Released | Tuned | Undid | ChangedConnections:
        """Carry an action out, recorded before and after. stop, within_s, calm, clients: as for
        `ops.release.release.execute`.

        A Plan is carried out exactly as it is; if a value has changed since it was made, nothing is (`Changed`). An
        Undo of changes whose time is up (`timed`) goes on even where the audit log cannot be written, since the
        journal records it too.

        Raises: HalfopenError "audit" before anything is done; else as `ops.release.release.execute`, or as
        `ops.tune.execute.change` and `undo`.
        """
        if not isinstance(action, Release | ChangeConnections | RestoreOptions):
            return self._tune(action)
        if ns is None:
            raise UsageError("this action needs its network namespace", hint="pass it beside the action")
        if not isinstance(action, Release):
            return self._connections(action, ns, stop)
        return self._release(action, ns, stop, within_s, calm, clients)

    # --- release ------------------------------------------------------------------------------------------------------

    def _release(
        self,
        action: Release,
        ns: Netns,
        stop: threading.Event | None,
        within_s: float | None,
        calm: Calm | None,
        clients: KnownClients | None,
    ) -> Released:
        # Imported here because it brings numpy, which a process that only waits to undo a setting can do without.
        from halfopen.ops.release import release

        if self.dry_run:
            return release.execute(action, ns, dry_run=True, stop=stop, calm=calm, clients=clients)
        stop = stop or StopEvent()
        how: dict[str, Any] = {"stop": stop, "within_s": within_s, "calm": calm, "clients": clients}
        with signals.held_off(stop):
            return self._recorded(_asked(action, ns.inode), lambda: release.execute(action, ns, **how))

    def note(self, action: Withheld | GuardWithheld) -> None:
        """Record an action that a policy decided on and that is withheld. Raises: HalfopenError "audit"."""
        if self.dry_run:
            return
        why: dict[str, Any] = {"phase": "withheld", "why": action.why.value, "detail": action.detail}
        if isinstance(action, GuardWithheld):
            asked = _guarded(action.protect, action.protect.where.inode)
        else:
            asked, why = _asked(action.release, action.release.where.inode), why | {"matching": action.matching}
        self.audit.write({"id": _new_id(), **asked, **why, "who": who()})

    def note_silence(self, action: Silence | Unsilence) -> None:
        """Record that some incidents are silenced, or no longer. Raises: HalfopenError "audit"."""
        if self.dry_run:
            return
        record: dict[str, Any] = {"action": "silence", "of": action.name, "asked_by": action.by}
        if isinstance(action, Unsilence):
            record["action"] = "unsilence"
        else:
            record |= {"until": action.until_s, "reason": action.reason}
        self.audit.write({"id": _new_id(), **record, "phase": "done", "who": who()})

    def _connections(
        self, action: ChangeConnections | RestoreOptions, ns: Netns, stop: threading.Event | None
    ) -> ChangedConnections:
        from halfopen.ops.closing import cure, retrofitting

        stop = stop or StopEvent()
        if isinstance(action, RestoreOptions):
            if self.dry_run:
                return retrofitting.restore(action, ns, dry_run=True)
            undo = {"action": "closing undo", "netns": ns.name, "record": action.id, "reason": action.reason}
            return self._recorded(undo, lambda: retrofitting.restore(action, ns))
        if self.dry_run:
            return cure.execute(action, ns, dry_run=True, stop=stop)
        record: dict[str, Any] = {
            "action": f"closing {action.how}",
            "netns": action.netns,
            "filter": action.filter.describe(),
            "arguments": action.filter.arguments().strip() or "--all",
            "reason": action.reason,
        }
        if action.options is not None:
            record["options"] = action.options.as_record()
        with signals.held_off(stop):
            return self._recorded(record, lambda: cure.execute(action, ns, stop=stop))

    def _tune(self, action: Plan | Undo) -> Tuned | Undid:
        # Imported here because a release does not need it.
        from halfopen.ops.tune import execute

        means = execute.Means(self.directory, self.audit.path, self._checkpoint, self._recorded)
        if isinstance(action, Undo):
            if self.dry_run:
                raise UsageError("a dry run cannot tell what an undo would do", hint="halfopen tune log shows it")
            return execute.undo(action, means)
        return execute.preview(action, means) if self.dry_run else execute.change(action, means)

    # --- protect ------------------------------------------------------------------------------------------------------

    def protect(
        self,
        action: Protect,
        ns: Netns,
        *,
        stop: threading.Event | None = None,
        begun: Callable[[Protected], None] | None = None,
        tell: Callable[[GuardReading], None] | None = None,
        ending: Callable[[float], None] | None = None,
        why: Callable[[], str] | None = None,
    ) -> Protected:
        """Guard listeners until the time is up or `stop` is set, recorded before and after.

        begun: called once the listeners are guarded. tell: called with a reading each second. ending: called at the
        end with the seconds that clients still have to finish. why: gives the reason why `stop` was set.

        Raises: HalfopenError "audit" before anything is done; else as `ops.protect.protect.execute`.
        """
        from halfopen.ops.protect import protect

        if self.dry_run:
            return protect.preview(action, ns)
        how: dict[str, Any] = {"stop": stop, "begun": begun, "tell": tell, "ending": ending, "why": why}
        return self._recorded(_guarded(action, ns.inode), lambda: protect.execute(action, ns, **how))

    def unprotect(self, action: Unprotect) -> Unprotected:
        """End guards that other processes hold, recorded before and after. Raises: as `ops.protect.others.off`."""
        from halfopen.ops.protect import others

        record = {"action": "unprotect", "netns": action.netns, "reason": action.reason}
        return self._recorded(record, lambda: others.off(action))

    # --- block --------------------------------------------------------------------------------------------------------

    def block(self, action: Block, ns: Netns, never: Sequence[Network] = ()) -> BlocksChanged:
        """Block sources, recorded before and after. Raises: HalfopenError "audit"; else as `ops.blocks.block`."""
        from halfopen.ops import blocks

        if self.dry_run:
            return blocks.block(action, ns, never, dry_run=True)
        record = {
            "action": "block",
            "netns": action.where.name,
            "netns_inode": ns.inode,
            "sources": list(map(str, action.sources)),
            "port": action.port,
            "for_s": action.for_s,
            "reason": action.reason,
        }
        return self._recorded(record, lambda: blocks.block(action, ns, never))

    def unblock(self, action: Unblock, ns: Netns) -> BlocksChanged:
        """End blocks, recorded before and after. Raises: HalfopenError "audit"; else as `ops.blocks.unblock`."""
        from halfopen.ops import blocks

        record = {
            "action": "unblock",
            "netns": action.where.name,
            "netns_inode": ns.inode,
            "sources": list(map(str, action.sources)) or ["all"],
            "reason": action.reason,
        }
        return self._recorded(record, lambda: blocks.unblock(action, ns))

    # --- memory -------------------------------------------------------------------------------------------------------

    def drop_caches(self, action: DropCaches) -> CachesDropped:
        """Drop the page cache of the machine, recorded before and after. Raises: HalfopenError "audit" before anything
        is done; else as `ops.caches.execute`.
        """
        from halfopen.ops import caches

        if self.dry_run:
            return caches.execute(action, dry_run=True)
        record = {"action": "memory drop-caches", "inodes": action.inodes, "reason": action.reason}
        with signals.held_off(StopEvent()):
            return self._recorded(record, lambda: caches.execute(action))

    # --- the record ---------------------------------------------------------------------------------------------------

    def _recorded(self, action: dict[str, Any], work: Callable[[], Result], *, refuse: bool = True) -> Result:
        """Do `work` between two lines of the audit log. refuse: do nothing if the first cannot be written;
        otherwise that is added to the outcome's problems.
        """
        record = {"id": _new_id(), **action, "who": who()}
        problems: tuple[str, ...] = ()
        try:
            self.audit.write({**record, "phase": "begin"})
        except HalfopenError as e:
            if refuse:
                raise
            problems = (e.line(),)
        try:
            outcome: Result = work()
        except BaseException as e:
            self._failed(record, e)
            raise
        try:
            self.audit.write({**record, "phase": "done", **_record(outcome)})
        except HalfopenError as e:
            problems = (e.line(),)
        return replace(outcome, problems=(*outcome.problems, *problems)) if problems else outcome

    def _failed(self, record: dict[str, Any], error: BaseException) -> None:
        try:
            self.audit.write({**record, "phase": "failed", "error": words(error)})
        except HalfopenError as e:
            if isinstance(error, HalfopenError):
                error.message = f"{error.message} (and {e.message})"


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _asked(action: Release, inode: int) -> dict[str, Any]:
    """What was asked for, and by which policy with which numbers."""
    record: dict[str, Any] = {
        "action": "release",
        "netns": action.netns,
        "netns_inode": inode,
        "filter": action.filter.describe(),
        "arguments": action.filter.arguments().strip() or "--all",
        "reason": action.reason,
        "incidents": list(action.incidents),
    }
    if action.policy:
        record |= {"policy": action.policy, "decided_by": dict(action.decided_by)}
    if action.most is not None:
        record["at_most"] = action.most
    if not action.sparing.empty:
        record["sparing"] = action.sparing.describe()
    return record


def _guarded(action: Protect, inode: int) -> dict[str, Any]:
    """What is to be guarded, and by which policy."""
    record: dict[str, Any] = {
        "action": "protect",
        "netns": action.netns,
        "netns_inode": inode,
        "listeners": [endpoint_words(one) for one in action.listeners] or ["all"],
        "share": action.share,
        "for_s": action.for_s,
        "rung": action.rung,
        "reason": action.reason,
    }
    if action.policy:
        record |= {"policy": action.policy, "incidents": list(action.incidents)}
        record |= {"never": [endpoint_words(one) for one in action.never]} if action.never else {}
    return record


def _record(
    outcome: Released | Tuned | Undid | Protected | Unprotected | ChangedConnections | BlocksChanged | CachesDropped,
) -> dict[str, Any]:
    return released(outcome) if isinstance(outcome, Released) else outcome.as_record()
