"""What detection is told of a reading: the counts of each listener at which something waits or happened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from halfopen.core.findings.all_rules import RULES, is_note
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.turned_away import turned_away
from halfopen.core.policy.counts import CONNECTIONS, ListenerCounts, Subject
from halfopen.core.units import listener_text
from halfopen.core.where import ListenerKey


def subject_text(subject: Subject) -> str:
    """The subject's name for people; empty for the namespace."""
    if subject is None:
        return ""
    return subject[1] if subject == CONNECTIONS else listener_text(subject[1], subject[2])


def gained(name: str, now: Model, before: Model | None) -> int:
    """By how much a counter grew since the reading before; 0 where that is not known, or it began anew."""
    if before is None:
        return 0
    counters, old = now.sample.counters, before.sample.counters
    return max(0, counters[name] - old[name]) if name in counters and name in old else 0


def counts_of(
    now: Model,
    before: Model | None,
    verdict: Verdict | None = None,
    wanted: Collection[Subject] = (),
    *,
    some: bool = False,
) -> dict[Subject, ListenerCounts]:
    """The counts of every listener that has any, and of the `wanted` ones that are still there.

    some: the Model is only of some listeners or sources; what cannot be laid to one of them is not theirs.
    """
    dropped, sent = gained("ListenDrops", now, before), gained("SyncookiesSent", now, before)
    back = gained("SyncookiesRecv", now, before)
    away = _turned_away(now, before) if dropped else {}
    critical = {_subject(f) for f in verdict.findings if _is_critical(f)} if verdict is not None else set()
    always = now.sample.settings.get("tcp_syncookies", 1) == 2
    answered = _answered_by_cookie(now.listeners) if (sent or back) and not always else None
    asked = {*wanted, *critical, *away} - {None}
    found: dict[Subject, ListenerCounts] = {}
    for view in now.listeners:
        if not (view.half_open or view.accept_queue or (asked and view.key in asked)):
            if not asked:
                break  # the fullest come first
            continue
        key: Subject = view.key
        mine = answered is view
        found[key] = ListenerCounts(
            waiting=(waiting := max(0, view.half_open - view.may_have_answered)),
            unanswered=max(0, waiting - view.young),
            cap=view.syn_queue_limit,
            release_s=max(1.0, view.release_time_s),
            cookies=sent if mine else 0,
            cookies_unanswered=sent - back if mine else 0,
            turned_away=away.get(view.key, 0),
            accept_full=_accept_full(view),
            syn_full=bool(view.syn_queue_limit) and view.held >= (view.syn_queue_limit or 0),
            critical=key in critical,
            fill=view.fill,
        )
    # The counters are read a little later than the listeners: a rest beside drops of listeners means nothing.
    nowhere = 0 if away else dropped
    loose = answered is None and bool(sent or back)
    if not some and (nowhere or loose or None in critical or None in wanted):
        found[None] = ListenerCounts(
            release_s=max(1.0, now.release_time_s),
            cookies=sent if loose and not always else 0,
            cookies_unanswered=sent - back if loose else 0,
            turned_away=nowhere,
            critical=None in critical,
        )
    return found


def cause_of(verdict: Verdict, subject: Subject) -> str:
    """The id of the finding that explains trouble of a subject, "" where none does: of its own, else one of the
    namespace that is no mere remark. Trouble of the namespace is explained by any.
    """
    return next((finding.id for finding in _causes(verdict, subject)), "")


def still_explains(verdict: Verdict, subject: Subject, cause: str) -> bool:
    """Whether a cause that was told is still among those of a subject, and none is worse."""
    found = list(_causes(verdict, subject))
    return any(finding.id == cause and finding.level >= found[0].level for finding in found)


def _causes(verdict: Verdict, subject: Subject) -> Iterator[Finding]:
    causes = [f for f in verdict.findings if not is_note(f) and f.level > Level.OK]
    yield from (f for f in causes if f.listener is not None and f.listener.key == subject)
    yield from (f for f in causes if f.listener is None and (f.level >= Level.WARNING or RULES[f.id].fallback))
    if subject is None:
        yield from causes


def _is_critical(finding: Finding) -> bool:
    return finding.level is Level.CRITICAL and not is_note(finding)


def _subject(finding: Finding) -> Subject:
    return None if finding.listener is None else finding.listener.key


def _accept_full(view: ListenerView) -> bool:
    """The kernel takes one more than the limit (`sk_acceptq_is_full()`)."""
    return view.accept_queue_limit is not None and view.accept_queue >= view.accept_queue_limit + view.members


def _answered_by_cookie(views: Iterable[ListenerView]) -> ListenerView | None:
    """The listener whose SYNs were answered by cookies: the fullest; None where none holds anything."""
    fullest = max(views, key=lambda view: view.fill or 0.0, default=None)
    return fullest if fullest is not None and fullest.fill else None


def _turned_away(now: Model, before: Model | None) -> Mapping[ListenerKey, int]:
    """How many of the clients that were turned away since the reading before each listener accounts for."""
    if before is None:
        return {}
    return turned_away(now.listeners, before.listeners, now.sample.counters, before.sample.counters)
