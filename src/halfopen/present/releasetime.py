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
from halfopen.core.units import show_duration
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import listener_name
from halfopen.present.text import propose

_SHORT: Final = 2
_MOST_LISTENERS: Final = 4


def _at(retries: int, cap_s: float) -> str:
    return ", ".join(f"{s.at_s:g}" for s in timing.schedule(retries, cap_s))


def headline(model: Model) -> str:
    """The answer: what is in force in this namespace."""
    return (
        f"{show_duration(model.release_time_s)}: an unanswered half-open connection is released after its "
        f"{'last' if model.retries else 'only'} SYN-ACK times out (tcp_synack_retries = {model.retries})"
    )


def show(out: Console, model: Model | None, retries: Sequence[int], cap_s: float, measured: dict[int, float]) -> None:
    """The schedule for each number of retries; the present one is marked, and listeners with their own are named."""
    if model is not None:
        out.print(headline(model))
        for view in model.listeners:
            if view.overridden:
                time_s = show_duration(view.release_time_s)
                out.print(f"{time_s} on {listener_name(view)}: its own TCP_SYNCNT = {view.retries} overrides it")
        if unknown := [listener_name(view) for view in model.listeners if not view.retries_known]:
            more = f" and {len(unknown) - _MOST_LISTENERS} more" if len(unknown) > _MOST_LISTENERS else ""
            where = ", ".join(unknown[:_MOST_LISTENERS])
            out.print(f"not known on {where}{more}: its own TCP_SYNCNT could not be read and may override the setting")
        out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    table.add_column("RETRIES", justify="right", header_style="dim")
    table.add_column("RELEASE", justify="right", header_style="dim", no_wrap=True)
    if measured:
        table.add_column("MEASURED", justify="right", header_style="dim", no_wrap=True)
    table.add_column("SYN-ACKS SENT AFTER, IN SECONDS", header_style="dim")
    for r in retries:
        mark = "*" if model is not None and r == model.retries else ""
        cells = [f"{mark}{r}", show_duration(timing.release_time_s(r, cap_s))]
        if measured:
            cells.append(f"{measured[r]:.2f} s" if r in measured else "-")
        table.add_row(*cells, _at(r, cap_s))
    out.print(table)
    if model is not None and model.retries in retries:
        out.print(f"* current setting: tcp_synack_retries = {model.retries}")
    if model is not None:
        shorter = timing.release_time_s(_SHORT, cap_s)
        if model.retries > _SHORT:
            out.print()
            out.print(f"To release after {show_duration(shorter)} instead:")
            propose(out, "Next", command((ChangeSetting(model.sample.where.name, SYNACK, _SHORT, "release-time"),)))
        for view in [v for v in model.listeners if v.overridden and v.retries > _SHORT][:_MOST_LISTENERS]:
            change = ChangeListener(model.sample.where.name, view.address, view.port, RETRIES, _SHORT, "release-time")
            propose(out, "Also", command((change,)))


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
