"""Output of `closing`: the verdict first, then groups of connections, the worst first, and the command that helps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from halfopen.core.fields.closing import CLOSING, DESTINATION, GROUP, SOCKETS, SocketChunk
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import PLACE
from halfopen.core.findings.all_rules import is_note
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.closing import ClosingModel, SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.sample import Sample
from halfopen.core.sample.closing import STATE_NAMES
from halfopen.core.units import json_text, printable
from halfopen.present import columns, listing
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import LEADS
from halfopen.present.language import spoken, tr, tr_n
from halfopen.present.level_style import STYLE
from halfopen.present.prose import bullets, headed, titled
from halfopen.present.statusjson import json_verdict
from halfopen.present.text import propose, verdict_line
from halfopen.present.told import told

_MOST_GROUPS: Final = 12
# Reasons in all, and of one kind.
_MOST_LINES: Final = 12
_MOST_ALIKE: Final = 5
_CHUNK: Final = 2048
# The worst first; a signature that is not here comes last.
_ORDER: Final = (
    Signature.DATA_UNREAD,
    Signature.END_UNREAD,
    Signature.END_READ,
    Signature.UNACCEPTED,
    Signature.PEER_SILENT,
    Signature.UNREAD,
    Signature.PEER_NOT_READING,
    Signature.HELD,
    Signature.RETRYING,
    Signature.IDLE,
    Signature.STILL_SENDING,
    Signature.CONNECTING,
    Signature.ORPHANED,
    Signature.WAITING,
    Signature.ACTIVE,
)
# The group of a finding: process, state, signature, peer.
_Named = tuple[int, str, str, str]
_RANK: Final = {one: rank for rank, one in enumerate(_ORDER)}


def worst_first(groups: Iterable[SocketGroup], verdict: Verdict) -> list[SocketGroup]:
    """The groups in the order in which they are shown: first those with findings, the worst level first."""
    levels: dict[_Named, Level] = {}
    for one in verdict.findings:
        if one.has("signature") and one.level > Level.OK:
            named = (
                one.count("pid") if one.has("pid") else 0,
                one.text("socket_state"),
                one.text("signature"),
                one.text("peer"),
            )
            levels[named] = max(levels.get(named, Level.OK), one.level)

    def order(g: SocketGroup) -> tuple[int, int, int]:
        level = levels.get((g.pid, g.state_name, g.signature.word, g.peer), Level.OK)
        return -level, _RANK[g.signature], -g.count

    return sorted(groups, key=order)


def show(out: Console, sample: Sample, model: ClosingModel, verdict: Verdict) -> None:
    """The screen of `closing`, in the language of the reader."""
    with spoken():
        _show(out, sample, model, verdict)


def _show(out: Console, sample: Sample, model: ClosingModel, verdict: Verdict) -> None:
    first = next((one for one in verdict.findings if one.id in LEADS), None)
    verdict_line(out, verdict.level, sample.where, headline(model, verdict))
    _reasons(out, verdict.findings, first)
    for note in (*sample.completeness.problems, *sample.completeness.notes):
        headed(out, Text("  - ", style="dim"), told(note), "dim")
    shown = worst_first(model.groups, verdict)[:_MOST_GROUPS]
    if shown:
        out.print()
        columns.show(out, GROUP, shown)
        if len(model.groups) > len(shown):
            more = len(model.groups) - len(shown)
            out.print(Text(tr_n("and {n:,} more group", "and {n:,} more groups", more), style="dim"))
    out.print()
    titled(out, states_line(model))
    best, *others = next_commands(verdict)
    for command in others[:2]:
        propose(out, tr("Also"), command)
    propose(out, tr("Next"), best)


def headline(model: ClosingModel, verdict: Verdict) -> str:
    """The verdict in a line."""
    first = next((one for one in verdict.findings if one.id in LEADS), None)
    if first is not None:
        return LEADS[first.id](first)[0]
    n = tr_n("{n:,} connection", "{n:,} connections", len(model.sockets.rows))
    if any(one.level > Level.OK for one in verdict.findings):
        return tr("{connections}; of some, one look cannot tell whether they leak", connections=n)
    return tr("{connections}; none of them leaks", connections=n)


def _reasons(out: Console, findings: Sequence[Finding], first: Finding | None) -> None:
    every = [(first.id, first.level, LEADS[first.id](first)[1])] if first is not None else []
    rest = [one for one in findings if one is not first]
    every += [(one.id, one.level, say(one)) for one in sorted(rest, key=is_note)]
    told, lines = Counter[str](), list[tuple[Level, str]]()
    for id, level, line in every:
        told[id] += bool(line)
        if line and told[id] <= _MOST_ALIKE and len(lines) < _MOST_LINES:
            lines.append((level, line))
    if left := told.total() - len(lines):
        more = tr_n(
            "and {n:,} more reason like these, which --json has",
            "and {n:,} more reasons like these, which --json has",
            left,
        )
        lines.append((Level.OK, more))
    bullets(out, [(STYLE[level], printable(line)) for level, line in lines])


def states_line(model: ClosingModel) -> str:
    """How many connections are in each state."""
    told = [f"{name} {model.by_state[state]:,}" for state, name in STATE_NAMES.items() if model.by_state[state]]
    return tr("Connections  {states}", states=tr(", ").join(told) or tr("none"))


def document(sample: Sample, model: ClosingModel, verdict: Verdict, *, interrupted: bool = False) -> dict[str, Any]:
    """`halfopen.closing/1`."""
    return {
        "schema": "halfopen.closing/1",
        "time": sample.wall_s,
        "host": sample.host.name,
        "kernel": sample.host.kernel,
        **json_object(PLACE, sample.where),
        "interrupted": interrupted,
        "verdict": json_verdict(verdict),
        **json_object(CLOSING, model),
        "groups": [json_object(GROUP, group) for group in worst_first(model.groups, verdict)],
        "destinations": [json_object(DESTINATION, one) for one in model.destinations],
        "problems": list(sample.completeness.problems),
        "notes": list(sample.completeness.notes),
    }


# --- single connections -----------------------------------------------------------------------------------------------


def chunks(netns: str, model: ClosingModel, places: NDArray[Any]) -> Iterator[SocketChunk]:
    """The connections at these places (n,) of the model's sockets, some at a time."""
    for start in range(0, len(places), _CHUNK):
        yield SocketChunk(netns, model, places[start : start + _CHUNK])


def list_lines(form: str, netns: str, model: ClosingModel, places: NDArray[Any], width: int | None) -> Iterator[str]:
    """The lines of `closing list` in a form (table, csv or ndjson), of the sockets at these places (n,) of the model.

    width: of the table, in columns; None: as wide as it needs.
    """
    found = chunks(printable(netns), model, places)
    if form == "csv":
        return listing.csv_lines(SOCKETS, found)
    if form == "ndjson":
        return listing.ndjson_lines(SOCKETS, found)
    return listing.table(SOCKETS, list(found), width)


def list_document(head: dict[str, Any], netns: str, model: ClosingModel, places: NDArray[Any]) -> Iterator[str]:
    """`halfopen.closing-list/1`: `head`, then `connections`, a row a line.

    places (K,): of the sockets of `model` to list, in order.
    """
    yield json_text(json.dumps(head, ensure_ascii=False))[:-1] + ', "connections": ['
    last = None
    for line in listing.ndjson_lines(SOCKETS, chunks(netns, model, places)):
        if last is not None:
            yield last + ","
        last = line
    yield (last or "") + "]}"
