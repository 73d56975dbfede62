"""What the page shows of the present: the verdict with its causes, listeners, rates, sources, incidents, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from halfopen.core.fields.field import Field
from halfopen.core.fields.kernel import SETTINGS_SAID
from halfopen.core.fields.live import LIVE_INCIDENT, LIVE_LISTENER, LIVE_SOURCE, MOMENT, per_s
from halfopen.core.findings.all_rules import RULES, is_note
from halfopen.core.findings.cures import stays_on_watch
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.live import Live, LiveNamespace, with_ages
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.moments import Moment
from halfopen.core.model.sources import standing_out
from halfopen.core.tune.settings import advise
from halfopen.core.units import printable
from halfopen.present import commands
from halfopen.present.advised import CLAUSES, advised
from halfopen.present.chosen_words import CONDITIONS
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import lasted, level_word
from halfopen.present.language import ENGLISH, listed, spoken, tr, tr_n
from halfopen.present.sources import spread
from halfopen.present.told import told
from halfopen.present.web.kept import cause_title
from halfopen.present.web.tables import table, texts

LISTENERS_MOST: Final = 500
"""More are left out, the idle ones first, and the page says so."""
_SPACES_MOST: Final = 200


def registry_texts() -> list[str]:
    """The texts of the registries that the page has in its tables."""
    found = [text for fields in (LIVE_LISTENER, LIVE_SOURCE, LIVE_INCIDENT, MOMENT) for text in texts(fields)]
    return [*found, *(help for _, _, help in SETTINGS_SAID), *CLAUSES, *CONDITIONS]


def state(live: Live, language: str = ENGLISH) -> dict[str, Any]:
    """The present as the page has it, in a language; namespaces with the worst first."""
    with spoken(language):
        spaces = sorted(live.spaces, key=lambda o: (-o.verdict.level, -o.model.half_open, o.model.sample.where.name))
        host = live.spaces[0].model.sample.host if live.spaces else None
        return {
            "host": "" if host is None else printable(host.name),
            "kernel": "" if host is None else printable(host.kernel),
            "time": live.wall_s,
            "interval_s": live.interval_s,
            "trouble": told(live.trouble),
            "spaces": [_space(one) for one in spaces[:_SPACES_MOST]],
            "left_out": _left_out(len(spaces) - _SPACES_MOST),
        }


def _left_out(n: int) -> str:
    return tr_n("{n:,} more is not shown", "{n:,} more are not shown", n) if n > 0 else ""


def _space(space: LiveNamespace) -> dict[str, Any]:
    model, where = with_ages(space.model, space.whole), space.model.sample.where
    level = space.verdict.level
    views = sorted(model.listeners, key=_busiest)
    return {
        "inode": where.inode,
        "name": printable(where.name),
        "lives_in": printable(where.lives_in),
        "level": level.name.lower(),
        "level_word": level_word(level),
        "half_open": model.half_open,
        "headline": printable(headline(model, space.verdict)),
        "causes": [_cause(finding) for finding in space.verdict.findings],
        "next": _next(space),
        "missing": _missing(space),
        "rates": [_rate(field, space.minute) for field in MOMENT],
        "minute": {"since_s": [round(m.at_s - space.minute[-1].at_s, 1) for m in space.minute]},
        "listeners": {
            **table(LIVE_LISTENER, views[:LISTENERS_MOST]),
            "bars": [_bars(view) for view in views[:LISTENERS_MOST]],
            "left_out": _left_out(len(views) - LISTENERS_MOST),
        },
        "sources": _sources(space) if model.half_open and space.sources else None,
        "incidents": {
            **table(LIVE_INCIDENT, space.incidents),
            "ids": [one.id for one in space.incidents],
            "causes": [cause_title(one.cause) for one in space.incidents],
        },
        "settings": _settings(model),
    }


def _next(space: LiveNamespace) -> list[str]:
    """The next commands, the best first; none where the advice is to stay on watch, as the service does."""
    if stays_on_watch(space.verdict.next[0]):
        return []
    return [commands.for_anybody(line) for line in next_commands(space.verdict)]


def _sources(space: LiveNamespace) -> dict[str, Any]:
    """The prefixes that stand out, and how many sources there are."""
    top = standing_out([one.source for one in space.sources])
    distinct = 0 if space.whole is None else space.whole.distinct_sources
    words = tr_n("{n:,} distinct source", "{n:,} distinct sources", distinct)
    if not top:
        words = listed([words, spread(space.sources[0].source)])
    return {**table(LIVE_SOURCE, [one for one in space.sources if one.source in top]), "said": words}


def _busiest(view: ListenerView) -> tuple[int, int, int, str]:
    return -view.half_open, -view.accept_queue, view.port, view.address


def _cause(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "level": finding.level.name.lower(),
        "level_word": level_word(finding.level),
        "note": is_note(finding) or finding.level <= Level.OK,
        "title": tr(RULES[finding.id].title) if not is_note(finding) else "",
        "text": printable(say(finding)),
        "evidence": printable(phrases(finding.facts)),
        "ruled_out": list(finding.rules_out),
        "commands": [commands.for_anybody(command(cure)) for cure in finding.cures],
    }


def _missing(space: LiveNamespace) -> list[str]:
    """How old the ages are, and what could not be read."""
    complete, lines = space.model.sample.completeness, []
    if seconds := space.aged_s:
        lines.append(tr("ages and sources were read {time} ago", time=lasted(round(seconds))))
    return [*lines, *(told(line) for line in (space.trouble, *complete.problems, *complete.notes) if line)]


def _rate(field: Field[Moment], minute: Sequence[Moment]) -> dict[str, Any]:
    """A rate of the last minute: the figure now, and what it was."""
    values = [round(float(field.get(one)), 1) if field.get is not None else 0.0 for one in minute]
    about = "~" if field.name == "syns" and minute and not minute[-1].counted and values[-1] else ""
    figure = f"{about}{per_s(values[-1])}" if len(minute) > 1 else "-"
    return {"name": field.name, "title": tr(field.title), "help": tr(field.plain_help), "now": figure, "values": values}


def _bars(view: ListenerView) -> dict[str, float | None]:
    """How full each queue is, as a share; None where that is not known."""
    accept = view.accept_queue / view.accept_queue_cap if view.accept_queue_cap else None
    return {"syn_queue": _share(view.fill), "accept_queue": _share(accept)}


def _share(value: float | None) -> float | None:
    return None if value is None else round(min(1.0, value), 3)


def _settings(model: Model) -> list[dict[str, Any]]:
    """Each setting that was read: its value, what it does, what it comes to here, and what it should be."""
    read = {key: model.sample.settings[name] for key, name, _ in SETTINGS_SAID if name in model.sample.settings}
    by_key = {one.key: one for one in advise(read)}
    found = []
    for key, name, help in SETTINGS_SAID:
        if (value := model.sample.settings.get(name)) is None:
            continue
        one = by_key.get(key)
        found.append(
            {
                "name": name,
                "value": value,
                "help": tr(help),
                "effect": "" if one is None else advised(one.effect),
                "idle": one is not None and one.idle,
                "recommended": None if one is None else one.recommended,
                "reason": "" if one is None else advised(one.reason),
                "cost": "" if one is None else advised(one.cost),
            }
        )
    return found
