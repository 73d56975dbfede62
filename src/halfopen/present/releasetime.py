"""Output of `release-time`: when SYN-ACKs go out and when the kernel gives up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from halfopen.core.fields.field import json_object
from halfopen.core.fields.listener import RELEASE_TIME
from halfopen.core.model import timing
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.tune.keys import RETRIES, SYNACK
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import listener_name
from halfopen.present.findings.words import lasted
from halfopen.present.language import aloud, tr
from halfopen.present.text import propose

_SHORT: Final = 2
_MOST_LISTENERS: Final = 4


def _at(retries: int, cap_s: float) -> str:
    return ", ".join(f"{s.at_s:g}" for s in timing.schedule(retries, cap_s))


def headline(model: Model) -> str:
    """The answer: what is in force in this namespace."""
    return tr(
        "{time}: an unanswered half-open connection is released after its {more} SYN-ACK times out "
        "(tcp_synack_retries = {retries})",
        time=lasted(model.release_time_s),
        more=tr("last") if model.retries else tr("only"),
        retries=model.retries,
    )


@aloud
def show(out: Console, model: Model | None, retries: Sequence[int], cap_s: float, measured: dict[int, float]) -> None:
    """The schedule for each number of retries; the present one is marked, and listeners with their own are named."""
    if model is not None:
        out.print(headline(model))
        for view in model.listeners:
            if view.overridden:
                time_s = lasted(view.release_time_s)
                out.print(
                    tr(
                        "{time_s} on {view}: its own TCP_SYNCNT = {retries} overrides it",
                        time_s=time_s,
                        view=listener_name(view),
                        retries=view.retries,
                    )
                )
        if unknown := [listener_name(view) for view in model.listeners if not view.retries_known]:
            more = tr(" and {more} more", more=len(unknown) - _MOST_LISTENERS) if len(unknown) > _MOST_LISTENERS else ""
            where = tr(", ").join(unknown[:_MOST_LISTENERS])
            out.print(
                tr(
                    "not known on {where}{more}: its own TCP_SYNCNT could not be read and may override the setting",
                    where=where,
                    more=more,
                )
            )
        out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    table.add_column(tr("RETRIES"), justify="right", header_style="dim")
    table.add_column(tr("RELEASE"), justify="right", header_style="dim", no_wrap=True)
    if measured:
        table.add_column(tr("MEASURED"), justify="right", header_style="dim", no_wrap=True)
    table.add_column(tr("SYN-ACKS SENT AFTER, IN SECONDS"), header_style="dim")
    for r in retries:
        mark = "*" if model is not None and r == model.retries else ""
        cells = [f"{mark}{r}", lasted(timing.release_time_s(r, cap_s))]
        if measured:
            cells.append(f"{measured[r]:.2f} s" if r in measured else "-")
        table.add_row(*cells, _at(r, cap_s))
    out.print(table)
    if model is not None and model.retries in retries:
        out.print(tr("* current setting: tcp_synack_retries = {retries}", retries=model.retries))
    if model is not None:
        shorter = timing.release_time_s(_SHORT, cap_s)
        if model.retries > _SHORT:
            out.print()
            out.print(tr("To release after {time} instead:", time=lasted(shorter)))
            propose(out, tr("Next"), command((ChangeSetting(model.sample.where.name, SYNACK, _SHORT, "release-time"),)))
        for view in [v for v in model.listeners if v.overridden and v.retries > _SHORT][:_MOST_LISTENERS]:
            change = ChangeListener(model.sample.where.name, view.address, view.port, RETRIES, _SHORT, "release-time")
            propose(out, tr("Also"), command((change,)))


def document(model: Model | None, retries: Sequence[int], cap_s: float, measured: dict[int, float]) -> dict[str, Any]:
    """`halfopen.release-time/1`."""
    return {
        "schema": "halfopen.release-time/1",
        "netns": model.sample.where.name if model else None,
        "synack_retries": model.retries if model else None,
        "release_time_s": model.release_time_s if model else None,
        "rto_max_s": cap_s,
        "listeners": [json_object(RELEASE_TIME, view) for view in (model.listeners if model else ())],
        "schedules": [
            {
                "retries": r,
                "release_time_s": timing.release_time_s(r, cap_s),
                "syn_ack_at_s": [s.at_s for s in timing.schedule(r, cap_s)],
                "measured_s": round(measured[r], 3) if r in measured else None,
            }
            for r in retries
        ],
    }
