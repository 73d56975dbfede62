"""The guards that the policy [protect] has armed: each runs in a thread of its own, carried out by the Executor.

The loop never waits for a guard: it asks for its state, and takes its news in the next round.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError, words
from halfopen.core.policy.actions import EndGuard, GuardWithheld, Protect, Protected
from halfopen.core.policy.guard_policy import GuardStanding, GuardState
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.reports import Guarding, Trouble
from halfopen.core.where import Namespace
from halfopen.linux import threads
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent
from halfopen.ops.executor import Executor


class _Kept(Struct):
    standing: GuardStanding
    stop: StopEvent = field(default_factory=StopEvent)
    why: str = ""
    thread: threading.Thread | None = None
    forgotten: bool = False


class GuardKeeper:
    """Keeps the guards; `close` ends all of them in order."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._of: dict[Namespace, _Kept] = {}
        self._news: deque[Guarding | Trouble] = deque()
        self._failed: dict[Namespace, str] = {}

    def standing(self, where: Namespace) -> GuardStanding | None:
        """The state of the guard of a namespace, also if it has ended; None: none was armed."""
        kept = self._of.get(where)
        return None if kept is None else kept.standing

    def arm(self, action: Protect, ns: Netns) -> None:
        """Begin to arm a guard; the result comes as news."""
        kept = self._of[action.where] = _Kept(GuardStanding(GuardState.ARMED, action, time.monotonic()))
        thread = threading.Thread(target=self._guard, args=(kept, action, ns), name="halfopen-guard", daemon=True)
        try:
            threads.start(thread)
            kept.thread = thread
        except HalfopenError as e:
            self._trouble(action, e)
            self._over(kept, action, "failed")

    def end(self, action: EndGuard) -> None:
        """Begin to end a guard; its end comes as news."""
        kept = self._of.get(action.where)
        if kept is not None and kept.standing.state is GuardState.ARMED:
            kept.why = action.reason
            kept.standing = replace(kept.standing, state=GuardState.ENDING)
            kept.stop.set()

    def note(self, action: GuardWithheld) -> None:
        """Record that a guard is not armed, and report it, also if it cannot be recorded."""
        try:
            self._executor.note(action)
        except HalfopenError as e:
            self._news.append(Trouble(action.protect.netns, e, action.protect.where))
        self._news.append(Guarding(action))

    def forget(self, where: Namespace) -> None:
        """End the guard of a namespace that is gone, and then forget it."""
        self._failed.pop(where, None)
        if (kept := self._of.get(where)) is None:
            return
        self.end(EndGuard(where, "the network namespace is gone"))
        kept.forgotten = True
        if kept.standing.state is GuardState.OVER:
            self._of.pop(where, None)

    def news(self) -> Iterator[Guarding | Trouble]:
        """The news since the last call."""
        while self._news:
            yield self._news.popleft()

    def close(self) -> None:
        """End every guard, and wait until they are off."""
        for where in list(self._of):
            self.end(EndGuard(where, "the watch ends"))
        for kept in list(self._of.values()):
            if kept.thread is not None:
                kept.thread.join()

    # --- in the thread of a guard -------------------------------------------------------------------------------------

    def _guard(self, kept: _Kept, action: Protect, ns: Netns) -> None:
        def tell(reading: GuardReading) -> None:
            if reading.counts.answered and kept.standing.state is GuardState.ARMED:
                kept.standing = replace(kept.standing, at_s=time.monotonic())

        ended = "failed"
        try:
            outcome = self._executor.protect(
                action, ns, stop=kept.stop, begun=self._begun, tell=tell, why=lambda: kept.why
            )
        except HalfopenError as e:
            self._trouble(action, e)
        except BaseException as e:
            # After a bug, the loop must not believe that the guard is still armed.
            self._trouble(action, HalfopenError("guard", words(e)))
        else:
            ended = outcome.ended
            self._failed.pop(action.where, None)
            self._news.append(Guarding(outcome))
        self._over(kept, action, ended)

    def _over(self, kept: _Kept, action: Protect, ended: str) -> None:
        kept.standing = GuardStanding(GuardState.OVER, action, time.monotonic(), ended)
        if kept.forgotten:
            self._of.pop(action.where, None)
            self._failed.pop(action.where, None)

    def _begun(self, outcome: Protected) -> None:
        self._news.append(Guarding(outcome))

    def _trouble(self, action: Protect, error: HalfopenError) -> None:
        # Reported once, not at every trial.
        if self._failed.get(action.where) != error.message:
            self._failed[action.where] = error.message
            self._news.append(Trouble(action.netns, error, action.where))
