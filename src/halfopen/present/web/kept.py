"""What the page shows of the past: a time line, and one incident as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from halfopen.core.fields.history import place_name
from halfopen.core.findings.all_rules import RULES
from halfopen.core.history import HistoryAnswer, ReleaseSeen, SettingChanged, lost
from halfopen.core.policy.incidents import CauseFound, Incident, ReleasesMade
from halfopen.core.postmortem import harm_of
from halfopen.core.timeline import Timeline, namespaces
from halfopen.core.units import printable
from halfopen.present.chosen_words import rephrased, reworded
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.words import lasted
from halfopen.present.harm import harm_words
from halfopen.present.language import ENGLISH, listed, spoken, tr, tr_n

INCIDENTS_MOST: Final = 200
_ACTIONS_MOST: Final = 200


def timeline(told: HistoryAnswer, drawn: Timeline, language: str = ENGLISH) -> dict[str, Any]:
    """A time with its values, incidents and actions."""
    with spoken(language):
        actions = [*map(_released, told.releases), *map(_changed, told.settings)]
        actions.sort(key=lambda one: -one["time"])
        return {
            "since": told.since_s,
            "until": told.until_s,
            "first": drawn.since_s,
            "each_s": drawn.each_s,
            "each": lasted(round(drawn.each_s)),
            "values": drawn.values,
            "watched": bool(told.spans),
            "namespaces": [{"inode": i, "name": printable(w.name)} for i, w in sorted(namespaces(told).items())],
            "incidents": [_row(one, told.now_s) for one in reversed(told.incidents[-INCIDENTS_MOST:])],
            "rises": tr_n(
                "{n:,} rise passed without an alarm.", "{n:,} rises passed without an alarm.", len(told.rises)
            )
            if told.rises
            else "",
            "actions": actions[:_ACTIONS_MOST],
        }


def _row(one: Incident, now_s: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "began": one.began_s,
        "alarm": one.alarm_s,
        "ended": one.ended_s if one.over else one.began_s + one.lasted_s if lost(one, now_s) else None,
        "over": one.over or lost(one, now_s),
        "lasted": lasted(round(one.lasted_s)),
        "place": place_name(one.where, one.listener),
        "cause": cause_title(one.cause),
        "level": next((c.level for c in reversed(one.causes) if c.level), "warning"),
        "peak": f"{one.peak.most:,}",
        "released": f"{one.released:,}",
    }


def cause_title(id: str) -> str:
    """A cause in a few words."""
    return tr(RULES[id].title).replace("`", "") if id in RULES else id or tr("no known cause")


def _released(one: ReleaseSeen) -> dict[str, Any]:
    released = one.outcome.get("released")
    count = released if isinstance(released, int) else 0
    return {
        "time": one.at_s,
        "kind": "release",
        "text": printable(
            listed(
                [
                    tr_n("{n:,} connection released", "{n:,} connections released", count),
                    rephrased(one.filter),
                    tr("by the policy {name}", name=one.policy) if one.policy else "",
                ]
            )
        ),
    }


def _changed(one: SettingChanged) -> dict[str, Any]:
    words = tr("{name} changed from {before} to {after}", name=one.name, before=_set(one.before), after=_set(one.after))
    return {"time": one.at_s, "kind": "setting", "text": printable(words)}


def _set(value: int | None) -> str:
    return "-" if value is None else str(value)


# --- one incident -----------------------------------------------------------------------------------------------------


def incident(
    one: Incident,
    releases: Sequence[ReleaseSeen],
    told: HistoryAnswer,
    drawn: Timeline,
    language: str = ENGLISH,
) -> dict[str, Any]:
    """An incident: what was seen, what was done, what came of it. told, drawn: the time around it."""
    with spoken(language):
        return {
            **_row(one, told.now_s),
            "headline": _headline(one, told.now_s),
            "facts": [{"name": name, "text": text} for name, text in _facts(one, releases).items() if text],
            "causes": [_cause(cause) for cause in one.causes],
            "made": [_made(made) for made in one.releases],
            "actions": [*map(_released, releases), *map(_changed, told.settings)][:_ACTIONS_MOST],
            "outcome": _outcome(one, told.now_s),
            "replay": f"halfopen history replay {one.id}",
            "chart": {
                "first": drawn.since_s,
                "each_s": drawn.each_s,
                "each": lasted(round(drawn.each_s)),
                "since": told.since_s,
                "until": told.until_s,
                "values": drawn.values,
            },
        }


def _headline(one: Incident, now_s: float) -> str:
    time = lasted(round(one.lasted_s))
    cause = cause_title(one.cause)
    cause = cause[:1].upper() + cause[1:]
    if one.alarm_s is None:
        return tr("A rise of {time} without an alarm", time=time)
    if one.over:
        return tr("{cause}; it lasted {time}", cause=cause, time=time)
    if lost(one, now_s):
        return tr("{cause}; seen for {time}, then the watch ended", cause=cause, time=time)
    return tr("{cause}; on for {time}", cause=cause, time=time)


def _facts(one: Incident, releases: Sequence[ReleaseSeen]) -> Mapping[str, str]:
    """What was seen, by its title."""
    peak = tr("{n:,} half-open", n=one.peak.half_open)
    if one.about_connections:
        peak = tr_n("{n:,} connection", "{n:,} connections", one.peak.connections)
    fill = tr("the SYN queue {share} full", share=f"{one.peak.fill:.0%}") if one.peak.fill is not None else ""
    unanswered = (
        tr("{n:,} of {all:,} arrivals unanswered", n=one.unanswered, all=one.arrivals or 0) if one.unanswered else ""
    )
    dropped = (
        tr("{n:,}, at most {rate}/s", n=one.turned_away, rate=f"{one.peak.drops_per_s:,.0f}") if one.turned_away else ""
    )
    made = sum(made.times for made in one.releases)
    harm = harm_words(harm_of(tuple(releases), made)) if made else ""
    return {
        tr("Listener"): place_name(one.where, one.listener),
        tr("Peak"): listed([peak, fill]),
        tr("At the alarm"): unanswered,
        tr("SYNs and handshakes dropped"): dropped,
        tr("Harmed"): harm,
    }


def _cause(cause: CauseFound) -> dict[str, Any]:
    return {
        "time": cause.at_s,
        "id": cause.id,
        "title": cause_title(cause.id),
        "level": cause.level,
        "evidence": printable(phrases(cause.facts)),
    }


def _made(made: ReleasesMade) -> dict[str, Any]:
    words = [
        tr_n("{n:,} connection released", "{n:,} connections released", made.released),
        rephrased(made.filter),
        tr_n("in {n:,} release", "in {n:,} releases", made.times),
        tr("{n:,} were gone before", n=made.gone) if made.gone else "",
        tr("{n:,} failed", n=made.failed) if made.failed else "",
        tr("{n:,} spared", n=made.spared) if made.spared else "",
    ]
    return {"time": made.first_s, "text": printable(listed(words)), "reason": reworded(made.reason)}


def _outcome(one: Incident, now_s: float) -> list[str]:
    """What came of it, in sentences."""
    time = lasted(round(one.lasted_s))
    if one.over and one.gone == "listener":
        lines = [tr("It ended after {time}, as the listener is gone.", time=time)]
    elif one.over and one.gone:
        lines = [tr("It ended after {time}, as the namespace is gone.", time=time)]
    elif one.over:
        lines = [tr("It ended after {time}: fewer than half of the limit were unanswered for a while.", time=time)]
    elif lost(one, now_s):
        lines = [tr("Its end was not seen: the watch ended first.")]
    else:
        lines = [tr("It is still going on.")]
    if one.released:
        lines.append(
            tr_n(
                "{n:,} half-open connection was released.",
                "{n:,} half-open connections were released.",
                one.released,
            )
        )
    elif one.alarm_s is not None:
        lines.append(tr("Nothing was released during it."))
    return lines
