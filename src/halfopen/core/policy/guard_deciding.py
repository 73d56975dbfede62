"""When the policy [protect] has a guard armed, and when it has the guard taken off again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from halfopen.core.findings.registry import RULES, OnRelease
from halfopen.core.policy.actions import EndGuard, GuardWithheld, Protect, Withholding
from halfopen.core.policy.alarms import WatchedListener, WatchedListeners
from halfopen.core.policy.events import Seen
from halfopen.core.policy.guard_policy import NAME, GuardPolicy, GuardStanding, GuardState
from halfopen.core.where import ListenerKey

# A guard that ended by itself, or could not be armed, is tried again after this long: what stood against it may be
# gone.
_AGAIN_S: Final = 60.0
# Longer where a firewall dropped what the guard let in: each trial costs the clients of some seconds.
_AGAIN_AFTER_FUTILE_S: Final = 600.0


class GuardDecision(Struct, frozen=True):
    """What is to be done, and what was said of it so far, each once for as long as there is a reason to arm."""

    actions: tuple[Protect | EndGuard | GuardWithheld, ...] = ()
    said: frozenset[str] = frozenset()


def decide_guard(
    policy: GuardPolicy | None, event: Seen, alarms: WatchedListeners, calm_s: float, said: frozenset[str]
) -> GuardDecision:
    """Decide on the guard of a namespace after a reading. calm_s: an incident, and a guard, are over after that
    long."""
    standing = event.guard
    if standing is not None and standing.state is GuardState.ENDING:
        return GuardDecision(said=said)
    if standing is not None and standing.state is GuardState.ARMED:
        over = _over(policy, standing, event, alarms, calm_s)
        return GuardDecision((EndGuard(event.where, over),) if over else (), said)
    if policy is None:
        return GuardDecision()
    found = _reason(policy, event, alarms)
    if found is None:
        return GuardDecision()
    if standing is not None and event.at_s - standing.at_s < _waits_s(standing):
        return GuardDecision(said=said)
    reason, forbidding, incidents = found
    action = _action(policy, event, f"policy {NAME}: {reason}", incidents)
    if forbidding:
        return _withhold(action, Withholding.FORBIDDEN, forbidding, said)
    if not policy.acts:
        return _withhold(action, Withholding.OBSERVES, reason if policy.always else "", said)
    return GuardDecision((action,), said)


def _action(policy: GuardPolicy, event: Seen, reason: str, incidents: tuple[str, ...]) -> Protect:
    return Protect(
        event.where,
        policy.listeners,
        reason,
        policy.share,
        policy=NAME,
        incidents=incidents,
        never=policy.never,
    )


def _waits_s(standing: GuardStanding) -> float:
    if standing.why == "stopped":
        return 0.0
    return _AGAIN_AFTER_FUTILE_S if standing.why == "futile" else _AGAIN_S


def _withhold(action: Protect, why: Withholding, detail: str, said: frozenset[str]) -> GuardDecision:
    word = f"{why.value} {detail}"
    if word in said:
        return GuardDecision(said=said)
    return GuardDecision((GuardWithheld(action, why, detail),), said | {word})


def _over(
    policy: GuardPolicy | None, standing: GuardStanding, event: Seen, alarms: WatchedListeners, calm_s: float
) -> str:
    """Why an armed guard is to be taken off; "" where it stays."""
    armed = standing.action
    if policy is None or not policy.acts:
        return "no policy asks for it any more"
    if (armed.listeners, armed.share, armed.never) != (policy.listeners, policy.share, policy.never):
        return "the policy was changed"
    if policy.always or any(True for _ in _alarmed(policy, alarms)):
        return ""
    # The guard keeps the queue short, so an alarm may end while the flood goes on: the guard's answers tell.
    return "the incident is over" if event.at_s - standing.at_s >= calm_s else ""


def _reason(policy: GuardPolicy, event: Seen, alarms: WatchedListeners) -> tuple[str, str, tuple[str, ...]] | None:
    """Why a guard is to be armed, the cause that forbids it ("": none), and the incidents; None: no reason to."""
    if policy.always:
        return ("always", "", ()) if event.guardable else None
    forbidden: tuple[str, str, tuple[str, ...]] | None = None
    for subject, one in _alarmed(policy, alarms):
        on_release = RULES[one.cause].on_release if one.cause in RULES else OnRelease.NOTHING
        counts = event.counts.get(subject)
        fill = counts.fill if counts is not None else None
        filled = fill is not None and fill >= policy.share
        if not filled and on_release is not OnRelease.REASON:
            continue
        words = [one.cause] if one.cause else []
        words += [] if fill is None else [f"SYN queue {fill:.0%} full"]
        reason = f"{', '.join(words)} at port {subject[2]}"
        if on_release is not OnRelease.FORBIDS:
            return reason, "", (one.incident,)
        forbidden = reason, one.cause, (one.incident,)
    return forbidden


def _alarmed(policy: GuardPolicy, alarms: WatchedListeners) -> Iterator[tuple[ListenerKey, WatchedListener]]:
    """The listeners of the policy at which an alarm is on."""
    for subject, one in alarms.items():
        if subject is not None and one.watcher.alarmed and policy.concerns(subject[1], subject[2]):
            yield subject, one
