"""Output of `doctor`: the answer, a line or three for each feature, and the command that would grant the most."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfopen.core.features import EBPF, Checkup, Feature, Grant, Outcome, answer, capabilities, next_command
from halfopen.core.fields.features import FEATURE
from halfopen.core.fields.field import json_object
from halfopen.present.language import aloud, tr
from halfopen.present.prose import beside
from halfopen.present.text import propose
from halfopen.present.told import told

_STYLE = {Outcome.YES: "green", Outcome.NO: "bold red", Outcome.UNKNOWN: "bold yellow"}
_MARK = {Outcome.YES: "yes", Outcome.NO: "no", Outcome.UNKNOWN: "?"}
_A_LINE = 3


def _granted_by(grants: tuple[Grant, ...]) -> str:
    return tr(
        "granted by {grants}",
        grants=tr(", ").join(g.command if g.kind == "package" and g.command else told(g.name) for g in grants),
    )


def _lines(feature: Feature, width: int) -> Text:
    if feature.outcome is Outcome.YES:
        why = tr(" ({reasons})", reasons=told(feature.why)) if feature.why else ""
        return beside(told(feature.purpose) + why, width)
    cell = beside(told(feature.purpose), width)
    why = told(feature.why)
    said = tr("no, because {why}", why=why) if feature.outcome is Outcome.NO else tr("could not tell: {why}", why=why)
    cell.append("\n").append(beside(said, width))
    if feature.grants:
        granted = beside(_granted_by(feature.grants), width)
        granted.stylize("bold")
        cell.append("\n").append(granted)
    return cell


def _names(checkup: Checkup) -> list[str]:
    """The names of the features; those of eBPF programs without what they have in common, where that is clear."""
    ids = {feature.id for feature in checkup.features}
    bare = [(feature.id, feature.id.removeprefix(EBPF)) for feature in checkup.features]
    return [id if name != id and name in ids else name for id, name in bare]


@aloud
def show(out: Console, checkup: Checkup) -> None:
    """Every feature, in the order of the checkup."""
    out.print(told(answer(checkup)))
    out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(tr("FEATURE"), no_wrap=True, header_style="dim")
    table.add_column(tr("WHAT FOR"), header_style="dim")
    names = _names(checkup)
    marks = {outcome: tr(mark) for outcome, mark in _MARK.items()}
    before = max(map(cell_len, marks.values())) + max(map(cell_len, (*names, tr("FEATURE")))) + 4
    for name, feature in zip(names, checkup.features, strict=True):
        mark = Text(marks[feature.outcome], style=_STYLE[feature.outcome])
        table.add_row(mark, Text(name), _lines(feature, out.width - before))
    out.print(table)
    out.print()
    needed = capabilities(checkup)
    if needed:
        # systemd joins several such lines.
        out.print(tr("In a service:"))
        for start in range(0, len(needed), _A_LINE):
            out.print(f"    AmbientCapabilities={' '.join(needed[start : start + _A_LINE])}", soft_wrap=True)
    propose(out, tr("Next"), next_command(checkup))


def document(checkup: Checkup) -> dict[str, Any]:
    """`halfopen.doctor/1`."""
    return {
        "schema": "halfopen.doctor/1",
        "host": checkup.host.name,
        "kernel": checkup.host.kernel,
        "uid": checkup.uid,
        "user_namespace": checkup.user_namespace,
        "answer": answer(checkup),
        "features": [json_object(FEATURE, feature) for feature in checkup.features],
        "next": next_command(checkup),
    }
