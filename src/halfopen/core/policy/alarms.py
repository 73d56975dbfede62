"""What an alarm tells, from its first sign to its end: one at a time for each listener of a namespace, and one for its
open and closing connections (CONNECTIONS), of which `half_open` and `peak` then say how many are concerned.

`incident` is the same in all that is told of one (`incident_id`): it is made at the first sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy import connections
from halfopen.core.policy.counts import CONNECTIONS, Flows, ListenerCounts, Subject
from halfopen.core.policy.detection import Because, Judgement, Sensitivity, Watcher, step
from halfopen.core.policy.incident_id import incident_id
from halfopen.core.policy.readings import cause_of, still_explains
from halfopen.core.policy.stages import AlarmStage, StageTold
from halfopen.core.where import Namespace

# Another cause is told when it was the first one for this long; at once where none was known before.
_CAUSE_LASTS_S: Final = 2.0
_UNDECIDED: Final = ("", "cannot-tell")
# A quiet listener of which nothing was seen for this long is forgotten.
_FORGET_S: Final = 3600.0


class Rising(Struct, frozen=True):
    """The first sign at a listener (None: in the namespace). because: which (`detection.Because`)."""

    where: Namespace
    listener: Subject
    half_open: int
    because: str = Because.UNANSWERED.value
    incident: str = ""


class Passed(Struct, frozen=True):
    """It was nothing: a rise ended without an alarm, or its listener or namespace is gone."""

    where: Namespace
    listener: Subject
    half_open: int
    lasted_s: float
    incident: str = ""


class Alarm(Struct, frozen=True):
    """Clients are turned away, or more connections are unanswered than usual.

    unanswered of the arrivals of one release time; usual: how many usually are; limit: from how many on it is an alarm.
    because: what decided (`detection.Because`). cause: the id of the finding that explains it, "" if none does. own:
    the arrivals are those of the listener alone; else handshakes of the whole namespace count, and the share is at
    least that.
    """

    where: Namespace
    listener: Subject
    half_open: int
    unanswered: int
    arrivals: int
    usual: float
    limit: float
    because: str
    cause: str = ""
    own: bool = False
    incident: str = ""


class CauseChanged(Struct, frozen=True):
    """The alarm has another cause now; before: the one told last."""

    where: Namespace
    listener: Subject
    half_open: int
    cause: str
    before: str
    incident: str = ""


class Clear(Struct, frozen=True):
    """The alarm is over: it has been calm for long enough or, with `gone`, the "listener" or the "namespace" is gone.

    lasted_s since its first sign, peak: the most that waited in between.
    """

    where: Namespace
    listener: Subject
    half_open: int
    lasted_s: float
    peak: int
    cause: str = ""
    gone: str = ""
    incident: str = ""


Telling = Rising | Passed | Alarm | CauseChanged | Clear


class WatchedListener(Struct, frozen=True):
    """What is remembered of one listener: its watcher, the cause that was told, and another one, since when. incident:
    the id of its last one.
    """

    watcher: Watcher = field(default_factory=Watcher)
    cause: str = ""
    other: str = ""
    other_s: float = 0.0
    incident: str = ""

    @property
    def on(self) -> bool:
        """Whether an incident is on, be it a rise only."""
        return self.watcher.standing.stage is not AlarmStage.QUIET


WatchedListeners = Mapping[Subject, WatchedListener]


class Judged(Struct, frozen=True):
    """What one reading of a namespace comes to. look_again: another one within a fraction of a second would help."""

    of: WatchedListeners
    told: tuple[Telling, ...] = ()
    look_again: bool = False


def wanted(of: WatchedListeners) -> list[Subject]:
    """The listeners that the next reading has to tell of."""
    return [subject for subject, one in of.items() if not one.watcher.idle]


def judge_all(
    of: WatchedListeners,
    where: Namespace,
    counts: Mapping[Subject, ListenerCounts],
    flows: Flows,
    before_s: float | None,
    verdict: Verdict | None,
    s: Sensitivity,
    wall_s: float = 0.0,
    lasting: Verdict | None = None,
) -> Judged:
    """Judge a reading: the counts of its listeners, at flows.all.at_s, wall_s since 1970; before_s: of the reading
    before. lasting: the verdict on open and closing connections.
    """
    at_s = flows.all.at_s
    after, again = dict(of), False
    told: list[Telling] = []
    # The namespace comes last: its trouble is told already where a listener has an alarm.
    for subject, now in sorted(counts.items(), key=lambda item: item[0] is None):
        if subject is None and any(one.watcher.alarmed for key, one in after.items() if key not in _NO_LISTENERS):
            now = ListenerCounts(release_s=now.release_s)
        one = of.get(subject, _NEW)
        if subject == CONNECTIONS:
            watcher, judged = connections.step(one.watcher, now, at_s, s)
        else:
            watcher, judged = step(one.watcher, now, flows.at(subject), before_s, s)
        if not one.on and watcher.standing.stage is not AlarmStage.QUIET:
            one = replace(one, incident=incident_id(where, subject, wall_s))
        why = lasting if subject == CONNECTIONS else verdict
        one, said = _cause(replace(one, watcher=watcher), judged, subject, why, at_s)
        after[subject] = one
        told += _tell(one, judged, where, subject, now, flows, said)
        again |= judged.look_again
    for subject in [subject for subject in wanted(of) if subject not in counts]:
        one = after.pop(subject)
        if one.on:
            told.append(gone(one, where, subject, at_s, "listener"))
    _forget(after, at_s)
    return Judged(after, tuple(told), again)


_NEW: Final = WatchedListener()
_NO_LISTENERS: Final = (None, CONNECTIONS)


def gone(one: WatchedListener, where: Namespace, subject: Subject, at_s: float, what: str) -> Clear | Passed:
    """The end of an alarm, or of a rise, whose "listener" or "namespace" is gone."""
    lasted_s = at_s - one.watcher.began_s
    if not one.watcher.alarmed:
        return Passed(where, subject, 0, lasted_s, one.incident)
    return Clear(where, subject, 0, lasted_s, one.watcher.peak, one.cause, what, one.incident)


def _cause(
    one: WatchedListener, judged: Judgement, subject: Subject, verdict: Verdict | None, at_s: float
) -> tuple[WatchedListener, str | None]:
    """Its cause after a reading, and (None: nothing new) the cause before it where it is to be told anew."""
    if judged.told is StageTold.ALARM:
        return replace(one, cause=cause_of(verdict, subject) if verdict else "", other=""), None
    if verdict is None or one.watcher.standing.stage is not AlarmStage.INCIDENT:
        return one, None
    now = cause_of(verdict, subject)
    # Two of one level may change places: which of them costs more is another matter at each reading.
    if now == one.cause or now in _UNDECIDED or still_explains(verdict, subject, one.cause):
        return (replace(one, other="") if one.other else one), None
    if now != one.other:
        one = replace(one, other=now, other_s=at_s)
    if one.cause in _UNDECIDED or at_s - one.other_s >= _CAUSE_LASTS_S:
        return replace(one, cause=now, other=""), one.cause
    return one, None


def _tell(
    one: WatchedListener,
    judged: Judgement,
    where: Namespace,
    subject: Subject,
    now: ListenerCounts,
    flows: Flows,
    before: str | None,
) -> Iterator[Telling]:
    watcher, n, at_s, id = one.watcher, now.waiting, flows.all.at_s, one.incident
    if judged.told is StageTold.RISING:
        yield Rising(where, subject, n, judged.because.value, id)
    elif judged.told is StageTold.PASSED:
        yield Passed(where, subject, n, at_s - watcher.began_s, id)
    elif judged.told is StageTold.ALARM:
        numbers = round(judged.unanswered), round(judged.arrivals), round(judged.usual, 1), round(judged.limit, 1)
        own = flows.of is not None and subject not in _NO_LISTENERS
        yield Alarm(where, subject, n, *numbers, judged.because.value, one.cause, own, id)
    elif judged.told is StageTold.CLEAR:
        yield Clear(where, subject, n, at_s - watcher.began_s, watcher.peak, one.cause, incident=id)
    if before is not None:
        yield CauseChanged(where, subject, n, one.cause, before, id)


def _forget(of: dict[Subject, WatchedListener], at_s: float) -> None:
    old = [
        subject
        for subject, one in of.items()
        if one.watcher.idle and one.watcher.points and at_s - one.watcher.points[-1].at_s > _FORGET_S
    ]
    for subject in old:
        del of[subject]
