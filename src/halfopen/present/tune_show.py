"""What `tune show` says: what should change on the first line, the command on the last; and its JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console

from halfopen.core.errors import HalfopenError
from halfopen.core.settings import Advice, Cure
from halfopen.core.units import endpoint_text, plural, printable, show_duration
from halfopen.present.tune import Socket, grid, short


def show(
    out: Console,
    netns: str,
    advices: Sequence[Advice],
    cures: Sequence[tuple[Cure, int | None]],
    listeners: Sequence[str],
    command: str,
    unread: Mapping[str, HalfopenError] = MappingProxyType({}),
) -> None:
    """`tune show`; listeners: a line each; unread: why a setting, or "listeners", could not be read."""
    todo = [a for a in advices if a.recommended is not None]
    where = "" if netns == "self" else f" in {printable(netns)}"
    more = f"; {len(unread)} could not be read" if unread else ""
    if todo:
        out.print(f"{plural(len(todo), 'setting')}{where} should change: {', '.join(short(a.key) for a in todo)}{more}")
    else:
        out.print(f"Nothing to change{where}: every setting {'that was read ' if more else ''}is as it should be{more}")
    out.print()
    table = grid()
    for a in advices:
        table.add_row(short(a.key), str(a.value), a.effect)
        if a.recommended is not None:
            table.add_row("", f"→ {a.recommended}", f"{a.reason}; costs: {a.cost}")
    for key, e in unread.items():
        table.add_row(short(key), "?", f"could not be read: {e.line()}")
    out.print(table)
    if listeners:
        out.print()
        out.print("Listeners (halfopen tune listener [ADDR]:PORT changes one without a restart)")
        for line in listeners:
            out.print(f"  {line}", soft_wrap=True)
    out.print()
    out.print("No cure, though recommended")
    table = grid()
    for cure, value in cures:
        table.add_row(f"  {short(cure.key)}", "not there" if value is None else str(value), cure.truth)
    out.print(table)
    if todo:
        out.print()
        out.print(f"Next  {command}", soft_wrap=True)


def document(
    netns: str,
    inode: int,
    advices: Sequence[Advice],
    cures: Sequence[tuple[Cure, int | None]],
    listeners: Sequence[Socket],
    unread: Mapping[str, HalfopenError] = MappingProxyType({}),
) -> dict[str, Any]:
    """`halfopen.tune-show/1`."""
    return {
        "schema": "halfopen.tune-show/1",
        "netns": netns,
        "netns_inode": inode,
        "settings": [
            {
                "key": a.key,
                "value": a.value,
                "effect": a.effect,
                "idle": a.idle,
                "recommended": a.recommended,
                "reason": a.reason,
                "cost": a.cost,
            }
            for a in advices
        ],
        "listeners": [
            {
                "address": s.address,
                "port": s.port,
                "backlog": s.backlog,
                "synack_retries": s.retries,
                "defer_accept_s": s.deferred_s,
            }
            for s in listeners
        ],
        "no_cures": [{"key": c.key, "value": value, "truth": c.truth} for c, value in cures],
        "unread": [{"key": key, "why": e.line()} for key, e in unread.items()],
    }


def listener_lines(listeners: Sequence[Socket], somaxconn: int | None) -> list[str]:
    """One line a listener, for `show`."""
    lines = []
    for s in listeners:
        words = [endpoint_text(s.address, s.port), f"backlog {s.backlog:,}"]
        if somaxconn is not None and s.backlog >= somaxconn:
            words.append("(as much as somaxconn lets it)")
        if s.retries:
            words.append(f"TCP_SYNCNT {s.retries} overrides tcp_synack_retries")
        if s.deferred_s:
            words.append(f"TCP_DEFER_ACCEPT: waits {show_duration(s.deferred_s)} for data")
        lines.append("  ".join(words))
    return lines
