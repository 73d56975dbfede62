"""Output of `diagnose`: the cause, the evidence of each finding, what was ruled out; and `halfopen.diagnose/1`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from halfopen.core.fields.diagnosis import DIAGNOSIS, FINDING, RULED_OUT, Told
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import PLACE
from halfopen.core.fields.process import processes_cell
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.diagnosis import Confidence, Diagnosis, Explained, TimeBase, time_base
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.units import printable
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.sentences import listener_name, say
from halfopen.present.findings.words import lasted, level_word
from halfopen.present.language import listed, spoken, tr, tr_n
from halfopen.present.level_style import STYLE
from halfopen.present.prose import beside, headed
from halfopen.present.status import closing_line
from halfopen.present.text import level_head, propose
from halfopen.present.told import told

_READ_BY: Final = {"bpf": "eBPF", "diag": "sock_diag", "proc": "/proc/net/tcp"}
_INDENT: Final = 3
_GAP: Final = 2
_MOST_IDS: Final = 36
MAX_PROPOSED: Final = 3


def headline(found: Diagnosis) -> str:
    """The worst cause in a few words."""
    causes = found.causes
    if not causes:
        return tr("Nothing wrong was found")
    first = causes[0].finding
    title = tr(RULES[first.id].title)
    words = title.replace("`", "")
    # The name of a setting stays as it is written.
    text = words if title.startswith("`") else words[:1].upper() + words[1:]
    if first.listener is not None:
        text = tr("{cause}, on {at}", cause=text, at=listener_name(first.listener))
    if first.has("last_syn_s"):
        text = tr("{cause} (over)", cause=text)
    if len(causes) > 1:
        text = tr("{cause}; {n} more below", cause=text, n=len(causes) - 1)
    return text


def show(
    out: Console,
    all: Sequence[Diagnosis],
    skipped: Sequence[str],
    *,
    closing: Sequence[ClosingSeen] = (),
    verbose: bool = False,
) -> None:
    """Every namespace, the worst last, next to the prompt; closing: what was seen of the open and closing connections
    of each, in the order of `all`; verbose: with every fact, those that rule causes out too.
    """
    with spoken():
        for line in skipped:
            out.print(beside(tr("Skipped  {line}", line=told(line)), out.width), style="dim")
        pairs = list(zip_longest(all, closing))
        for i, (found, seen) in enumerate(sorted(pairs, key=lambda pair: pair[0].verdict.level)):
            if i:
                out.print()
            _namespace(out, found, seen, several=len(all) > 1, verbose=verbose)


def _namespace(out: Console, found: Diagnosis, seen: ClosingSeen | None, *, several: bool, verbose: bool) -> None:
    level, where = found.verdict.level, found.now.sample.where
    place = f"[{printable(where.name)}] " if several or where.name != "self" else ""
    headed(out, level_head(level), headline(found), "bold", first=Text(place, style=STYLE[level]))
    headed(out, Text(), _looked(found), "dim")
    for number, one in enumerate(found.causes, 1):
        if number == 1 or verbose:
            out.print()
        # A remark beside the cause needs no more than its sentence.
        minor = number > 1 and one.finding.level <= Level.NOTICE
        _finding(out, number, one, found, brief=minor and not verbose)
    if found.notes:
        out.print()
        for finding in found.notes:
            headed(out, Text(), printable(say(finding)), "dim")
    _excluded(out, found) if verbose else _excluded_ids(out, found)
    if line := "" if seen is None else closing_line(seen, where.name):
        out.print()
        out.print(beside(line, out.width))
    out.print()
    best, *others = next_commands(found.verdict)
    for line in others[: MAX_PROPOSED - 1]:
        propose(out, tr("Also"), line)
    propose(out, tr("Next"), best)


def _excluded_ids(out: Console, found: Diagnosis) -> None:
    """By name: the causes that look like what was found, and how many others."""
    near = [id for one in found.ruled_out if one.near for id in one.ids]
    others = [id for one in found.ruled_out if not one.near for id in one.ids]
    if not found.causes:
        near, others = [*near, *others], []
    out.print()
    if near and others:
        more = tr_n("{ids}, and {n} more (-v)", "{ids}, and {n} more (-v)", len(others), ids=", ".join(near))
        _named(out, tr("Ruled out"), more)
    elif near or others:
        _named(out, tr("Ruled out"), tr("{ids} (-v: why)", ids=", ".join(near or others)))
    if found.undecided:
        _named(out, tr("Not decided"), ", ".join(found.undecided))


def _named(out: Console, title: str, ids: str) -> None:
    headed(out, Text(f"{title}  ", style="bold"), ids)


def _excluded(out: Console, found: Diagnosis) -> None:
    """With the facts where a cause looks like what was found, or nothing was; others by name."""
    told = [one for one in found.ruled_out if one.near] or (() if found.causes else found.ruled_out)
    named = [id for one in found.ruled_out if one not in told for id in one.ids]
    if told or named or found.undecided:
        out.print()
    if told:
        out.print(Text(tr("Ruled out"), style="bold"))
        lines = [(", ".join(one.ids), phrases(one.facts)) for one in told]
        _grid(out, lines, most=_MOST_IDS)
    for title, ids in (
        (tr("Ruled out as well") if told else tr("Ruled out"), named),
        (tr("Not decided"), found.undecided),
    ):
        if ids:
            _named(out, title, ", ".join(ids))


def _looked(found: Diagnosis) -> str:
    way = _READ_BY.get(found.now.sample.completeness.source, found.now.sample.completeness.source)
    count = tr_n("{n:,} half-open connection", "{n:,} half-open connections", found.now.half_open)
    if found.seconds is None:
        return tr("One look, read by {way}; {count}", way=way, count=count)
    time = tr("{n} s", n=f"{found.seconds:.1f}")
    return tr("Two looks {time} apart, read by {way}; {count}", time=time, way=way, count=count)


def _finding(out: Console, number: int, one: Explained, found: Diagnosis, *, brief: bool) -> None:
    finding = one.finding
    title = Text(f"{number}  ", style=STYLE[finding.level]).append(Text(finding.id, style="bold"))
    if brief:
        first = Text(f"{finding.id}  ", style="bold")
        headed(out, Text(f"{number}  ", style=STYLE[finding.level]), printable(say(finding)), first=first)
        return
    out.print(title.append(f"  {level_word(finding.level)}{tr(', ')}{confidence(one)}"))
    headed(out, Text(" " * _INDENT), printable(say(finding)))
    lines = _evidence(finding, found.seconds)
    if finding.listener is not None and finding.listener.processes:
        lines.insert(0, (listener_name(finding.listener), printable(processes_cell(finding.listener.processes))))
    if lines:
        _grid(out, lines)


def _grid(out: Console, lines: Sequence[tuple[str, str]], *, most: int = 80) -> None:
    """Short words, in a column at most so wide, with prose beside them."""
    wide = min(most, max(cell_len(head) for head, _ in lines))
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(max_width=wide, style="dim")
    grid.add_column(overflow="fold")
    for head, text in lines:
        # Rich would break lines between words alone, of which Chinese has none.
        grid.add_row(head, beside(text, out.width - _INDENT - wide - 2 * _GAP))
    out.print(Padding(grid, (0, 0, 0, _INDENT)))


def confidence(one: Explained) -> str:
    """How sure a cause is, and what keeps it from being certain, in the language that is spoken."""
    if one.confidence is Confidence.CERTAIN:
        return tr("certain")
    if one.confidence is Confidence.CANNOT_TELL:
        return tr("cannot tell")
    rivals = tr("not ruled out: {ids}", ids=", ".join(one.rivals)) if one.rivals else ""
    return tr("likely ({why})", why=listed([rivals, tr(one.doubt) if one.doubt else ""]))


def _evidence(finding: Finding, seconds: float | None) -> list[tuple[str, str]]:
    """The facts by when they are from."""
    during = tr("between the looks") if seconds is None else tr("in {time}", time=lasted(round(seconds, 1)))
    titles = {
        TimeBase.NOW: tr("now"),
        TimeBase.BETWEEN: during,
        TimeBase.AGES: tr("by their ages"),
        TimeBase.EVER: tr("since made"),
    }
    found = []
    for base, title in titles.items():
        words = phrases((fact for fact in finding.facts if time_base(fact) is base), finding.facts)
        if words:
            found.append((title, words))
    return found


def _worded(one: Explained) -> Told:
    """A finding with its words and commands."""
    return Told(one, say(one.finding), tuple(map(command, one.finding.cures)))


def document(all: Sequence[Diagnosis], skipped: Sequence[str], *, interrupted: bool = False) -> dict[str, Any]:
    """`halfopen.diagnose/1`."""
    first = all[0].now.sample
    worst = max(all, key=lambda one: one.verdict.level)
    return {
        "schema": "halfopen.diagnose/1",
        "time": first.wall_s,
        "host": first.host.name,
        "kernel": first.host.kernel,
        "interrupted": interrupted,
        "level": worst.verdict.level.name.lower(),
        "namespaces": [_document(one) for one in all],
        "skipped": list(skipped),
    }


def _document(found: Diagnosis) -> dict[str, Any]:
    return {
        **json_object(PLACE, found.now.sample.where),
        **json_object(DIAGNOSIS, found),
        "headline": headline(found),
        "findings": [json_object(FINDING, _worded(one)) for one in found.findings],
        "ruled_out": [json_object(RULED_OUT, (one, phrases(one.facts))) for one in found.ruled_out],
        "next": next_commands(found.verdict),
    }
