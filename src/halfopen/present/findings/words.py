"""How findings become sentences: the registry of sentences, and the words that several of them need."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.model.listeners import ListenerView
from halfopen.core.units import listener_text, show_duration, show_time
from halfopen.present.language import is_english, listed, tr

Sentence = Callable[[Finding], str]

SENTENCES: dict[str, Sentence] = {}


def sentence(*ids: str) -> Callable[[Sentence], Sentence]:
    """Register the decorated function as the sentence of these findings. Raises: ValueError when one has one."""

    def register(made: Sentence) -> Sentence:
        for id in ids:
            if id in SENTENCES:
                raise ValueError(f"two sentences for {id!r}")
            SENTENCES[id] = made
        return made

    return register


Lead = Callable[[Finding], tuple[str, str]]

LEADS: dict[str, Lead] = {}


def lead(*ids: str) -> Callable[[Lead], Lead]:
    """Register the decorated function for findings that can stand in the first line of a screen: it gives what stands
    there, and what does not fit there; the sentence is both. Raises: ValueError when an id has a sentence.
    """

    def register(made: Lead) -> Lead:
        sentence(*ids)(lambda finding: listed(made(finding)))
        LEADS.update(dict.fromkeys(ids, made))
        return made

    return register


def say(finding: Finding) -> str:
    """The finding as one sentence with its evidence. Raises: KeyError for an id that has no sentence."""
    return listed([SENTENCES[finding.id](finding), named_before(finding)])


def named_before(f: Finding) -> str:
    """That an earlier reading named the cause, and this one does not contradict it; empty where this one names it."""
    if not f.has("named_before_s"):
        return ""
    return tr("seen {time} ago, and nothing contradicts it since", time=lasted(f.number("named_before_s")))


def listener_name(view: ListenerView) -> str:
    """`:8080`, or with the address where the listener is bound to one."""
    return listener_text(view.address, view.port)


def at(f: Finding) -> str:
    """The name of the listener concerned."""
    return listener_name(f.at)


def level_word(level: Level) -> str:
    """The level in a word."""
    if level is Level.CRITICAL:
        return tr("critical")
    if level is Level.WARNING:
        return tr("warning")
    return tr("notice") if level is Level.NOTICE else tr("ok")


def a_second(f: Finding, name: str) -> str:
    """The number of a rate for a person, where a noun stands before the "/s": whole from 10 a second on."""
    rate = f.number(name)
    return f"{rate:,.0f}" if rate >= 10 or rate == int(rate) else f"{rate:.1f}"


def per_s(f: Finding, name: str) -> str:
    """A rate for a person: `142/s`."""
    return tr("{rate}/s", rate=a_second(f, name))


def synacks(f: Finding, name: str) -> str:
    """A rate of SYN-ACKs for a person: `142 SYN-ACKs/s`."""
    return tr("{n} SYN-ACKs/s", n=a_second(f, name))


def syns(f: Finding, name: str) -> str:
    """A rate of SYNs for a person: `142 SYNs/s`."""
    return tr("{n} SYNs/s", n=a_second(f, name))


def lasted(seconds: float) -> str:
    """A duration for a person: `7 s`, `2 min 7 s`."""
    return in_units(show_duration(seconds))


def timed(seconds: float) -> str:
    """A time of any size for a person: `1.3 ms`, `1.02 s`."""
    return in_units(show_time(seconds))


def round_trip(seconds: float) -> str:
    """A round trip for a person: in milliseconds below a second."""
    return lasted(seconds) if seconds >= 1 else timed(seconds)


def in_units(text: str) -> str:
    """A text with the durations in it as the language writes them."""
    if is_english():
        return text
    return _UNIT.sub(_duration, _COMPACT.sub(r"\1 \2", text) if _WHOLE.fullmatch(text) else text)


_UNIT: Final = re.compile(r"([0-9.]+) (d|h|min|µs|ms|m|s)\b")
# As `core.units.duration_words` writes it; only where it is all of the text, because commands have it as well.
_WHOLE: Final = re.compile(r"(\d+d)?(\d+h)?(\d+m)?([\d.]+s)?|\d+ms")
_SECONDS: Final = re.compile(r" [0-9.]+ s\b")
_COMPACT: Final = re.compile(r"([\d.]+)(ms|d|h|m|s)")


def _duration(match: re.Match[str]) -> str:
    n, unit = match.groups()
    if unit == "d":
        return tr("{n} d", n=n)
    if unit == "h":
        return tr("{n} h", n=n)
    if unit == "µs":
        return tr("{n} µs", n=n)
    if unit == "ms":
        return tr("{n} ms", n=n)
    if unit == "s":
        return tr("{n} s", n=n)
    # Chinese has one word for minutes alone, another before seconds.
    before_seconds = _SECONDS.match(match.string, match.end()) is not None
    return tr("{n} min", n=n) if before_seconds else tr("{n} minutes", n=n)


def held(f: Finding, name: str) -> str:
    """A fact and its limit: `129 of 129`."""
    fact = f.fact(name)
    return tr("{value:,} of {limit:,.0f}", value=fact.value, limit=fact.limit or 0)
