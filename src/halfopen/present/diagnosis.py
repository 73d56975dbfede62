"""Output of `diagnose`: the cause, the evidence of each finding, what was ruled out; and `halfopen.diagnose/1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from halfopen.core.fields.diagnosis import DIAGNOSIS, FINDING, RULED_OUT, Told
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import PLACE
from halfopen.core.fields.process import processes_cell
from halfopen.core.findings.diagnosis import Confidence, Diagnosis, Explained, TimeBase, time_base
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.registry import RULES
from halfopen.core.units import plural, printable, show_duration
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.sentences import listener_name, say
from halfopen.present.text import STYLE, propose

_READ_BY: Final = {"bpf": "eBPF", "diag": "sock_diag", "proc": "/proc/net/tcp"}
# Above, right, below, left.
_INDENT: Final = (0, 0, 0, 3)
_MOST_IDS: Final = 36
MAX_PROPOSED: Final = 3


def headline(found: Diagnosis) -> str:
    """The worst cause in a few words."""
    causes = found.causes
    if not causes:
        return "Nothing wrong was found"
    first = causes[0].finding
    words = RULES[first.id].title.replace("`", "")
    at = f", on {listener_name(first.listener)}" if first.listener is not None else ""
    more = f"; {len(causes) - 1} more below" if len(causes) > 1 else ""
    return f"{words[:1].upper()}{words[1:]}{at}{more}"


def show(out: Console, all: Sequence[Diagnosis], skipped: Sequence[str]) -> None:
    """Every namespace, the worst last, next to the prompt."""
    for line in skipped:
        out.print(Text(f"Skipped  {line}", style="dim"))
    for i, found in enumerate(sorted(all, key=lambda one: one.verdict.level)):
        if i:
            out.print()
        _namespace(out, found, several=len(all) > 1)


def _namespace(out: Console, found: Diagnosis, *, several: bool) -> None:
    level, where = found.verdict.level, found.now.sample.where
    head = Text(f"{level.name:<8}  ", style=STYLE[level])
    if several or where.name != "self":
        head.append(f"[{printable(where.name)}] ")
    out.print(head.append(Text(headline(found), style="bold")))
    out.print(Text(_looked(found), style="dim"))
    for number, one in enumerate(found.causes, 1):
        out.print()
        _finding(out, number, one, found)
    if found.notes:
        out.print()
        for finding in found.notes:
            out.print(Text(printable(say(finding)), style="dim"))
    _excluded(out, found)
    out.print()
    best, *others = next_commands(found.verdict)
    for line in others[: MAX_PROPOSED - 1]:
        propose(out, "Also", line)
    propose(out, "Next", best)


def _excluded(out: Console, found: Diagnosis) -> None:
    """With the facts where a cause looks like what was found, or nothing was; others by name."""
    told = [one for one in found.ruled_out if one.near] or (() if found.causes else found.ruled_out)
    named = [id for one in found.ruled_out if one not in told for id in one.ids]
    if told or named or found.undecided:
        out.print()
    if told:
        out.print(Text("Ruled out", style="bold"))
        lines = [(", ".join(one.ids), phrases(one.facts)) for one in told]
        out.print(Padding(_grid(lines, most=_MOST_IDS), _INDENT))
    for title, ids in (
        ("Ruled out as well", named) if told else ("Ruled out", named),
        ("Not decided", found.undecided),
    ):
        if ids:
            out.print(Text(title, style="bold").append(Text(f"  {', '.join(ids)}", style="not bold")))


def _looked(found: Diagnosis) -> str:
    way = _READ_BY.get(found.now.sample.completeness.source, found.now.sample.completeness.source)
    looks = "One look" if found.seconds is None else f"Two looks {found.seconds:.1f} s apart"
    return f"{looks}, read by {way}; {plural(found.now.half_open, 'half-open connection')}"


def _finding(out: Console, number: int, one: Explained, found: Diagnosis) -> None:
    finding = one.finding
    title = Text(f"{number}  ", style=STYLE[finding.level]).append(Text(finding.id, style="bold"))
    out.print(title.append(f"  {finding.level.name.lower()}, {_confidence(one)}"))
    out.print(Padding(Text(printable(say(finding))), _INDENT))
    lines = _evidence(finding, found.seconds)
    if finding.listener is not None and finding.listener.processes:
        lines.insert(0, (listener_name(finding.listener), printable(processes_cell(finding.listener.processes))))
    if lines:
        out.print(Padding(_grid(lines), _INDENT))


def _grid(lines: Sequence[tuple[str, str]], *, most: int = 80) -> Table:
    """Short words, in a column at most so wide, with prose beside them."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=most, style="dim")
    grid.add_column()
    for head, text in lines:
        grid.add_row(head, Text(text))
    return grid


def _confidence(one: Explained) -> str:
    if one.confidence is not Confidence.LIKELY:
        return str(one.confidence.value)
    rivals = f"not ruled out: {', '.join(one.rivals)}" if one.rivals else ""
    return f"likely ({'; '.join(filter(None, (rivals, one.doubt)))})"


def _evidence(finding: Finding, seconds: float | None) -> list[tuple[str, str]]:
    """The facts by when they are from."""
    during = "between the looks" if seconds is None else f"in {show_duration(round(seconds, 1))}"
    titles = {
        TimeBase.NOW: "now",
        TimeBase.BETWEEN: during,
        TimeBase.AGES: "by their ages",
        TimeBase.EVER: "since made",
    }
    found = []
    for base, title in titles.items():
        words = phrases((fact for fact in finding.facts if time_base(fact) is base), finding.facts)
        if words:
            found.append((title, words))
    return found


def told(one: Explained) -> Told:
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
        "findings": [json_object(FINDING, told(one)) for one in found.findings],
        "ruled_out": [json_object(RULED_OUT, (one, phrases(one.facts))) for one in found.ruled_out],
        "next": next_commands(found.verdict),
    }
