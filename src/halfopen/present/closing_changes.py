"""What `closing keepalive`, `probe`, `shutdown` and `destroy` ask, and say came of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.console import Console

from halfopen.core.closing_filter import CONDITIONS
from halfopen.core.fields.closing_changes import CHANGED
from halfopen.core.fields.field import json_object
from halfopen.core.policy.connection_actions import ChangedConnections
from halfopen.core.policy.connection_notes import RECORD
from halfopen.core.units import netns_words, printable
from halfopen.present.findings.words import in_units
from halfopen.present.language import spoken, tr, tr_n
from halfopen.present.prose import rows
from halfopen.present.text import propose
from halfopen.present.told import told


def document(outcome: ChangedConnections) -> dict[str, Any]:
    """`halfopen.closing-change/1`."""
    return {"schema": "halfopen.closing-change/1", **json_object(CHANGED, outcome)}


def show(out: Console, outcome: ChangedConnections) -> None:
    """The outcome for a person, in the language of the reader."""
    with spoken():
        rows(out, [[line] for line in (*_lines(outcome), *notes(outcome))])
        if outcome.record and not outcome.dry_run:
            command = f"halfopen closing keepalive --undo {outcome.record}{netns_words(outcome.netns)}"
            propose(out, tr("Undo"), command)


def question(asked: ChangedConnections) -> tuple[list[str], str, str]:
    """What is to be known before a change, the question, and what a no comes to, in the language of the reader."""
    with spoken():
        return notes(asked), _QUESTIONS[asked.how](asked.matched, chosen(asked.filter)), tr("nothing was changed")


def _lines(outcome: ChangedConnections) -> Iterator[str]:
    what = chosen(outcome.filter)
    if not outcome.matched:
        yield tr("no connection matches ({filter}); nothing was changed", filter=what)
    elif outcome.dry_run:
        yield _WOULD[outcome.how](outcome.matched, what)
    else:
        yield _DONE[outcome.how](outcome.done, what)
        if outcome.answered is not None:
            yield tr(
                "{peers}, {silent:,} did not, {forgotten:,} had forgotten the connection, which ended",
                peers=tr_n("{n:,} peer answered", "{n:,} peers answered", outcome.answered),
                silent=outcome.silent,
                forgotten=outcome.forgotten,
            )
        yield tr(
            "matched {matched:,}, left alone as they had changed {spared:,}, failed {failed:,}; {seconds} s{way}",
            matched=outcome.matched,
            spared=outcome.spared,
            failed=outcome.failed,
            seconds=f"{outcome.seconds:.2f}",
            way=_way(outcome),
        )


def _way(outcome: ChangedConnections) -> str:
    way = ""
    if outcome.way == "bpf":
        way = tr(", each was checked under its own lock")
    elif outcome.way == "descriptor":
        way = tr(", by duplicates of the programs' descriptors")
    elif outcome.way == "netlink":
        way = tr(", by SOCK_DESTROY")
    if outcome.window_ms:
        way += tr(", {window} between look and change at most", window=f"{outcome.window_ms:.0f} ms")
    return way


_Said = Callable[[int, str], str]
_DONE: Final[dict[str, _Said]] = {
    "keepalive": lambda n, filter: tr_n(
        "{n:,} connection has keepalive on ({filter})",
        "{n:,} connections have keepalive on ({filter})",
        n,
        filter=filter,
    ),
    "probe": lambda n, filter: tr_n(
        "{n:,} connection was probed ({filter})", "{n:,} connections were probed ({filter})", n, filter=filter
    ),
    "shutdown": lambda n, filter: tr_n(
        "{n:,} connection was ended with a FIN ({filter})",
        "{n:,} connections were ended with a FIN ({filter})",
        n,
        filter=filter,
    ),
    "destroy": lambda n, filter: tr_n(
        "{n:,} connection was ended with an RST ({filter})",
        "{n:,} connections were ended with an RST ({filter})",
        n,
        filter=filter,
    ),
    "undo": lambda n, filter: tr_n(
        "{n:,} connection has the options that it had before ({filter})",
        "{n:,} connections have the options that they had before ({filter})",
        n,
        filter=filter,
    ),
}
_WOULD: Final[dict[str, _Said]] = {
    "keepalive": lambda n, filter: tr_n(
        "{n:,} connection would get keepalive ({filter}); nothing was changed",
        "{n:,} connections would get keepalive ({filter}); nothing was changed",
        n,
        filter=filter,
    ),
    "probe": lambda n, filter: tr_n(
        "{n:,} connection would be probed ({filter}); nothing was changed",
        "{n:,} connections would be probed ({filter}); nothing was changed",
        n,
        filter=filter,
    ),
    "shutdown": lambda n, filter: tr_n(
        "{n:,} connection would be ended with a FIN ({filter}); nothing was changed",
        "{n:,} connections would be ended with a FIN ({filter}); nothing was changed",
        n,
        filter=filter,
    ),
    "destroy": lambda n, filter: tr_n(
        "{n:,} connection would be ended with an RST ({filter}); nothing was changed",
        "{n:,} connections would be ended with an RST ({filter}); nothing was changed",
        n,
        filter=filter,
    ),
    "undo": lambda n, filter: tr_n(
        "{n:,} connection would get back the options that it had before ({filter}); nothing was changed",
        "{n:,} connections would get back the options that they had before ({filter}); nothing was changed",
        n,
        filter=filter,
    ),
}
_QUESTIONS: Final[dict[str, _Said]] = {
    "keepalive": lambda n, filter: tr_n(
        "Set keepalive on {n:,} connection ({filter})?",
        "Set keepalive on {n:,} connections ({filter})?",
        n,
        filter=filter,
    ),
    "probe": lambda n, filter: tr_n(
        "Send a keepalive probe on {n:,} connection ({filter})?",
        "Send a keepalive probe on {n:,} connections ({filter})?",
        n,
        filter=filter,
    ),
    "shutdown": lambda n, filter: tr_n(
        "End {n:,} connection with a FIN ({filter})?", "End {n:,} connections with a FIN ({filter})?", n, filter=filter
    ),
    "destroy": lambda n, filter: tr_n(
        "End {n:,} connection with an RST ({filter})?",
        "End {n:,} connections with an RST ({filter})?",
        n,
        filter=filter,
    ),
    "undo": lambda n, filter: tr_n(
        "Restore the old options of {n:,} connection ({filter})?",
        "Restore the old options of {n:,} connections ({filter})?",
        n,
        filter=filter,
    ),
}


# --- English words of the outcome, which the audit log and JSON keep --------------------------------------------------


def _patterns(texts: tuple[str, ...]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(text))), text) for text in texts]


_CONDITIONS: Final = _patterns((*CONDITIONS, RECORD))
_N: Final = re.compile(r"([\d,]+) connections?")


def chosen(described: str) -> str:
    """The words of `ClosingFilter.describe` as the language has them."""
    return tr(", ").join(_reworded(one, _CONDITIONS) for one in printable(described).split(", "))


def notes(outcome: ChangedConnections) -> list[str]:
    """What was not complete, and what else there is to know, in the language of the reader."""
    return [told(one) for one in (*outcome.problems, *outcome.notes)]


def _reworded(text: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, words in patterns:
        if (match := pattern.fullmatch(text)) is not None:
            return tr(words, **{name: _value(name, value) for name, value in match.groupdict().items()})
    return text


def _value(name: str, value: str) -> str:
    if name == "age":
        return in_units(value)
    if (match := _N.fullmatch(value)) is not None:
        return tr_n("{n:,} connection", "{n:,} connections", int(match[1].replace(",", "")))
    return tr(" or ").join(value.split(" or ")) if name in ("processes", "states", "place", "peers", "kinds") else value
