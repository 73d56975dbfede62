"""A change as one row of a table: planned, made or undone."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from halfopen.core.policy.actions import ChangeListener, ChangeSetting, PlannedChange
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.keys import DEFER
from halfopen.core.tune.outcomes import Applied, Undone
from halfopen.core.tune.plan import found, is_open
from halfopen.core.tune.spots import ListeningSocket, Place
from halfopen.core.tune.undoing import shown
from halfopen.core.units import endpoint_text, listener_text, printable
from halfopen.present.findings.words import lasted
from halfopen.present.language import listed, tr
from halfopen.present.told import told


def planned_rows(changes: Iterable[PlannedChange]) -> list[ChangeRow]:
    """The changes of a plan, each "wanted" or "already"."""
    return [_planned(c) for c in changes]


def _planned(c: PlannedChange) -> ChangeRow:
    spot, wanted = found(c).spot, is_open(c)
    cost = c.cost if wanted and isinstance(c, ChangeSetting | ChangeListener) else ""
    why = c.why if isinstance(c, ChangeListener) else ""
    state = "wanted" if wanted else "already"
    name, listener, file = spot.place.name, spot.listener, spot.file
    return ChangeRow(c.key, found(c).value, c.value, state, c.reason, why, None, name, listener, file, cost)


def applied_rows(applied: Iterable[Applied]) -> list[ChangeRow]:
    """The outcome of each change of a plan."""
    return [_applied(a) for a in applied]


def _applied(a: Applied) -> ChangeRow:
    to, spot = a.asked if a.state == "refused" else a.value, a.spot
    cost = a.cost if a.state in ("done", "clamped") else ""
    return ChangeRow(a.key, a.old, to, a.state, a.reason, a.why, a.id, spot.place.name, spot.listener, spot.file, cost)


def undone_rows(undone: Iterable[Undone], here: Place | None) -> list[ChangeRow]:
    """The outcome of undoing each change. here: the namespace of this process."""
    return [_undone(u, here) for u in undone]


def _undone(u: Undone, here: Place | None) -> ChangeRow:
    b = u.change.began
    before = u.change.value if u.wrote else u.value
    there = "" if here is None or here.identity == b.place.identity else where(b.place, b.file, here)
    why, name = u.why, b.place.name
    return ChangeRow(b.key, before, u.value, u.state, "", why, u.change.id, name, b.listener, b.file, where=there)


def where(place: Place, file: str | None, here: Place | None) -> str:
    """The namespace of a change as a person knows it: its name, or `this namespace` for this process's own."""
    if file is not None:
        return tr("the machine")
    if place.name != "self":
        return printable(place.name)
    return tr("this namespace") if here is not None and place.identity == here.identity else f"net:[{place.inode}]"


def short(key: str) -> str:
    """The last part of a setting's name, by which the command takes it."""
    return key.rpartition(".")[2]


def named(key: str, listener: ListeningSocket | None, file: str | None, twins: Container[int] = ()) -> str:
    """The changed setting, in words: `tcp_synack_retries`, `:8080 backlog`, `tcp_synack_retries in 60-halfopen.conf`.

    twins: the ports on which `listener_text` would give two listeners one name.
    """
    if listener is not None:
        return f"{listener_named(listener.address, listener.port, twins)} {short(key)}"
    return (
        short(key) if file is None else tr("{key} in {more}", key=short(key), more=printable(file.rpartition("/")[2]))
    )


def listener_named(address: str, port: int, twins: Container[int]) -> str:
    """`:8080`; `0.0.0.0:8080` or `[::]:8080` where both are there."""
    return endpoint_text(address, port) if port in twins else listener_text(address, port)


def twins(listeners: Iterable[ListeningSocket | None]) -> set[int]:
    """The ports where one of these listeners is on 0.0.0.0 and another on ::."""
    found = {(x.address, x.port) for x in listeners if x is not None}
    return {port for address, port in found if address == "::" and ("0.0.0.0", port) in found}


def shown_change(key: str, from_: int | None, to: int | None) -> str:
    """`5 → 2`, or `5` where nothing was written."""
    before, after = _value(key, from_), _value(key, to)
    return after if from_ == to else f"{before} → {after}"


def _value(key: str, value: int | None) -> str:
    if key == DEFER and value is not None:
        return lasted(value) if value else tr("off")
    return told(shown(value))


def alike(rows: Sequence[ChangeRow]) -> list[list[ChangeRow]]:
    """The rows in groups: together where they say the same of several sockets of one address."""
    found: dict[tuple[Any, ...], list[ChangeRow]] = {}
    for r in rows:
        one = r.id if r.listener is None else (r.listener.address, r.listener.port)
        found.setdefault((one, r.key, r.from_, r.to, r.state, r.reason, r.why, r.netns, r.file), []).append(r)
    return list(found.values())


def shown_ids(ids: Sequence[int | None]) -> str:
    """`3`, `3-6` or `3 5 7`; empty without any."""
    known = sorted(id for id in ids if id is not None)
    if len(known) > 2 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]}-{known[-1]}"
    return " ".join(map(str, known))


def joined(*words: str) -> str:
    """The non-empty words, as one line."""
    return listed(words)


def sockets_text(n: int) -> str:
    """`4 sockets`; empty for one."""
    return tr("{n} sockets", n=n) if n > 1 else ""
