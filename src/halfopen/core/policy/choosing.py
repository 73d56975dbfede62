"""The releases that policies ask for after a reading, listener by listener, and those that something forbids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.lasting import SLOW_S
from halfopen.core.findings.registry import OnRelease
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.actions import Release, Withheld, Withholding
from halfopen.core.policy.alarms import WatchedListener, WatchedListeners
from halfopen.core.policy.counts import CONNECTIONS, ListenerCounts, Subject
from halfopen.core.policy.events import Seen
from halfopen.core.policy.release_policy import MOST_LISTENERS, ReleasePolicy
from halfopen.core.units import Network, prefix
from halfopen.core.where import ListenerKey

# For this long after the first sign of an alarm, its cause is looked for as fast as possible.
_LOOKED_FOR_S: Final = 10.0


class Target(Struct, frozen=True):
    """What a confirmed cause of an alarm offers for release at its listener. cause: its id; sources: the prefixes that
    the connections come from, () for anywhere; None: nothing is offered, because clients wait beside it.
    """

    cause: str
    sources: tuple[Network, ...] | None


class Candidate(Struct, frozen=True):
    """A release that the conditions of a policy ask for at a listener (None: of the namespace), if it finds any."""

    policy: ReleasePolicy
    listener: Subject
    release: Release


class Choice(Struct, frozen=True):
    """What the policies come to after a reading."""

    candidates: tuple[Candidate, ...] = ()
    withheld: tuple[Withheld, ...] = ()


def targets_after(
    before: Mapping[Subject, Target], alarms: WatchedListeners, verdict: Verdict | None
) -> dict[Subject, Target]:
    """The targets after a reading: of every alarm that is on, by its cause; a verdict that finds the cause again says
    anew what is offered. The cause alone stays where a release has left nothing that lasts.
    """
    found: dict[Subject, Target] = {}
    for subject, one in alarms.items():
        if not (one.watcher.alarmed and _reason(one.cause)):
            continue
        finding = _finding(verdict, one.cause, subject)
        known = before.get(subject)
        if finding is not None:
            found[subject] = Target(one.cause, _offered(finding))
        elif known is not None and known.cause == one.cause:
            found[subject] = known
    return found


def choose(
    policies: tuple[ReleasePolicy, ...],
    event: Seen,
    alarms: WatchedListeners,
    targets: Mapping[Subject, Target],
) -> Choice:
    """What these policies ask for after a reading."""
    candidates: list[Candidate] = []
    withheld: list[Withheld] = []
    for policy in policies:
        chosen = _Chosen(policy, event, alarms, targets)
        found = list(chosen.candidates() if policy.by_listener else chosen.by_filter())
        candidates += found[:MOST_LISTENERS]
        withheld += chosen.withheld
    return Choice(tuple(candidates), tuple(withheld))


def awaits_cause(policies: tuple[ReleasePolicy, ...], alarms: WatchedListeners, at_s: float) -> bool:
    """Whether a policy waits for the cause of an alarm that has begun just now: then it is looked at more often, and
    whatever that costs.
    """
    waiting = [one for one in policies if one.causes]
    return any(
        subject is not None
        and subject != CONNECTIONS
        and one.watcher.alarmed
        and undecided_cause(one.cause)
        and at_s - one.watcher.began_s <= _LOOKED_FOR_S
        and any(policy.places(subject[1], subject[2]) for policy in waiting)
        for subject, one in (alarms.items() if waiting else ())
    )


class _Chosen:
    """One policy after one reading."""

    def __init__(
        self, policy: ReleasePolicy, event: Seen, alarms: WatchedListeners, targets: Mapping[Subject, Target]
    ) -> None:
        self._policy, self._event, self._alarms, self._targets = policy, event, alarms, targets
        self.withheld: list[Withheld] = []

    def candidates(self) -> Iterator[Candidate]:
        longest_first = sorted(self._event.counts.items(), key=lambda item: -item[1].unanswered)
        for subject, counts in longest_first:
            if subject is not None and counts.unanswered:
                yield from self._at(subject, counts)

    def by_filter(self) -> Iterator[Candidate]:
        """The release of a policy that asks for nothing else: everywhere at once or, while a cause forbids it at some
        listener, at each of the others.
        """
        policy, event = self._policy, self._event
        if not event.half_open:
            return
        everywhere = Release(event.where, policy.filter, "", sparing=policy.sparing)
        if forbidding := _forbidding(event.verdict, self._alarms.get(None), None):
            self.withheld.append(Withheld(everywhere, None, Withholding.FORBIDDEN, None, forbidding))
            return
        own = replace(policy, listeners=policy.filter.listeners)
        places = [(subject, own.places(subject[1], subject[2])) for subject in event.counts if subject is not None]
        concerned = [(subject, found) for subject, found in places if found and event.counts[subject].waiting]
        causes = {one: _forbidding(event.verdict, self._alarms.get(one), one) for one, _ in concerned}
        if not any(causes.values()):
            yield Candidate(policy, None, everywhere)
            return
        for subject, found in sorted(concerned, key=lambda one: -event.counts[one[0]].waiting):
            for place in found:
                release = replace(everywhere, filter=replace(policy.filter, listeners=(place,)))
                if causes[subject]:
                    self.withheld.append(Withheld(release, subject, Withholding.FORBIDDEN, None, causes[subject]))
                else:
                    yield Candidate(policy, subject, release)

    def _at(self, subject: ListenerKey, counts: ListenerCounts) -> Iterator[Candidate]:
        policy, event = self._policy, self._event
        places = policy.places(subject[1], subject[2])
        if not places:
            return
        decided_by: list[tuple[str, int | float | str]] = []
        sources: tuple[Network | None, ...] = policy.sources or (None,)
        if policy.causes:
            cause, target = self._cause(subject)
            if cause not in policy.causes:
                return
            decided_by.append(("cause", cause))
            if target is None:
                return
            if target.sources is None:
                self._withhold(subject, Withholding.FORBIDDEN, f"{cause}: clients may wait beside it")
                return
            sources = _both(policy.sources, target.sources)
        if policy.fuller_than is not None:
            if counts.fill is None:
                self._withhold(subject, Withholding.CANNOT_TELL, "the limit of its SYN queue is not known")
                return
            if counts.fill <= policy.fuller_than:
                return
            decided_by.append(("fill", round(counts.fill, 3)))
        if event.degraded:
            self._withhold(subject, Withholding.CANNOT_TELL, event.degraded)
            return
        if forbidding := _forbidding(event.verdict, self._alarms.get(subject), subject):
            self._withhold(subject, Withholding.FORBIDDEN, forbidding)
            return
        decided_by.append(("unanswered", counts.unanswered))
        for place in places:
            for source in sources:
                chosen = replace(policy.filter, listeners=(place,), sources=() if source is None else (source,))
                release = Release(
                    event.where,
                    chosen,
                    "",
                    sparing=policy.sparing,
                    policy=policy.name,
                    decided_by=tuple(decided_by),
                )
                yield Candidate(policy, subject, release)

    def _cause(self, subject: Subject) -> tuple[str, Target | None]:
        """The cause of the alarm that is on at a listener, and what it offers."""
        one = self._alarms.get(subject)
        if one is None or not one.watcher.alarmed:
            return "", None
        return one.cause, self._targets.get(subject)

    def _withhold(self, subject: ListenerKey, why: Withholding, detail: str) -> None:
        policy = self._policy
        chosen = replace(policy.filter, listeners=policy.places(subject[1], subject[2])[:1])
        release = Release(self._event.where, chosen, "", sparing=policy.sparing, policy=policy.name)
        self.withheld.append(Withheld(release, subject, why, None, detail))


def _both(wanted: tuple[Network, ...], offered: tuple[Network, ...]) -> tuple[Network | None, ...]:
    """The prefixes in both lists; an empty list means everybody."""
    if not wanted or not offered:
        return wanted or offered or (None,)
    pairs = [(a, b) for a in wanted for b in offered if a.version == b.version and a.overlaps(b)]
    return tuple(dict.fromkeys(max(pair, key=lambda network: network.prefixlen) for pair in pairs))


def undecided_cause(id: str) -> bool:
    """Whether the cause of an alarm is not known."""
    return not id or (id in RULES and RULES[id].fallback)


def _reason(id: str) -> bool:
    return id in RULES and RULES[id].on_release is OnRelease.REASON


def _finding(verdict: Verdict | None, id: str, subject: Subject) -> Finding | None:
    """The finding of this id that concerns a listener: its own, else that of the namespace."""
    found = [f for f in (verdict.findings if verdict is not None else ()) if f.id == id]
    own = [f for f in found if f.listener is not None and f.listener.key == subject]
    return next(iter([*own, *(f for f in found if f.listener is None)]), None)


def _offered(finding: Finding) -> tuple[Network, ...] | None:
    """The prefixes that the cures of a finding release from, () where from everywhere; None where it has none."""
    releases = [action for cure in finding.cures for action in cure if isinstance(action, Release)]
    if releases:
        return tuple(network for release in releases for network in release.filter.sources)
    if not finding.has("lasting_since_s") or finding.number("lasting_since_s") >= SLOW_S:
        return None
    # A queue that fills within seconds is judged by younger ones, for which no release is offered at once: a policy has
    # an age of its own. Clients that wait beside it are findings that forbid a release.
    if not finding.has("prefix"):
        return ()
    return (prefix(finding.text("prefix")),) if finding.has("finished_by_them") else None


def _forbidding(verdict: Verdict | None, alarm: WatchedListener | None, subject: Subject) -> str:
    """The cause that forbids a release at a listener, found now or that of its alarm; "" where none does."""
    found = [
        f.id
        for f in (verdict.findings if verdict is not None else ())
        if f.level > Level.OK and (f.listener is None or f.listener.key == subject)
    ]
    if alarm is not None and alarm.watcher.alarmed:
        found.append(alarm.cause)
    return next((id for id in found if id in RULES and RULES[id].on_release is OnRelease.FORBIDS), "")
