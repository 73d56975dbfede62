"""How findings become sentences: the registry of sentences, and the words that several of them need."""

from __future__ import annotations

from collections.abc import Callable

from halfopen.core.findings.finding import Finding
from halfopen.core.model.listeners import ListenerView
from halfopen.core.units import listener_text

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
        sentence(*ids)(lambda finding: "; ".join(part for part in made(finding) if part))
        LEADS.update(dict.fromkeys(ids, made))
        return made

    return register


def say(finding: Finding) -> str:
    """The finding as one sentence with its evidence. Raises: KeyError for an id that has no sentence."""
    return SENTENCES[finding.id](finding)


def listener_name(view: ListenerView) -> str:
    """`:8080`, or with the address where the listener is bound to one."""
    return listener_text(view.address, view.port)


def at(f: Finding) -> str:
    """The name of the listener concerned."""
    return listener_name(f.at)


def per_s(f: Finding, name: str) -> str:
    """A rate for a person: whole from 10 a second on."""
    rate = f.number(name)
    return f"{rate:,.0f}/s" if rate >= 10 or rate == int(rate) else f"{rate:.1f}/s"


def held(f: Finding, name: str) -> str:
    """A fact and its limit: `129 of 129`."""
    fact = f.fact(name)
    return f"{fact.value:,} of {fact.limit or 0:,.0f}"
