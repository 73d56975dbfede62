"""Keeping settings over a boot: entries in our file of sysctl.d, and whatever would override them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from halfopen.change import sysctl_file
from halfopen.change.journal_file import Journal
from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.policy.actions import ChangeLine, ChangeSetting, FoundValue
from halfopen.core.tune.keys import CONNTRACK
from halfopen.core.tune.ledger import Change, Ledger
from halfopen.core.tune.plan import Plan, found, is_open
from halfopen.core.tune.spots import Spot
from halfopen.core.tune.sysctl_d import Override
from halfopen.core.units import show_duration
from halfopen.linux.identity import boot_id
from halfopen.linux.netns import Netns, run_in
from halfopen.read import netns_lookup, sysctl_overrides, tuners

REASON: Final = "set again at boot"


class Outlook(Struct, frozen=True):
    """What may change the values later: files that override our entries, and notes, a line each."""

    overrides: list[Override] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def must_be_possible(ns: Netns, fd: int, for_s: float | None = None) -> None:
    """Check that settings of this namespace can be kept. Raises: UsageError if the file is not read for this namespace,
    or the reason why it cannot be written.
    """
    if for_s is not None:
        raise UsageError(
            "--persist and --for contradict each other", hint="try it with --for, then apply it with --persist"
        )
    if not netns_lookup.is_booted(fd):
        raise UsageError(
            f"--persist works only in the network namespace that the machine booted with, and {ns.name} is another one",
            hint="leave it out, and set the values where that namespace is created",
        )
    try:
        sysctl_file.check()
    except HalfopenError as e:
        e.hint = f"{e.hint}, or leave out --persist" if e.hint else "leave out --persist"
        raise


def lines(settings: Sequence[ChangeSetting]) -> list[ChangeLine]:
    """The changes of our file for these values. Raises: as `change.sysctl_file.entries`."""
    there, file = sysctl_file.entries(), sysctl_file.path()
    return [
        ChangeLine(
            file, c.key, c.value, REASON, FoundValue(Spot(found(c).spot.place, c.key, file=file), there.get(c.key))
        )
        for c in settings
    ]


def must_last(ledger: Ledger, plan: Plan) -> None:
    """Raises: HalfopenError "returning" if a value to be kept belongs to a change that will be reverted."""
    for c in plan.changes:
        stack = ledger.stack(found(c).spot) if isinstance(c, ChangeSetting) and not is_open(c) else []
        if stack and stack[-1].began.until_s is not None:
            _returns(stack[-1])


def _returns(change: Change) -> None:
    left_s = max(0.0, netns_lookup.clocks().left_s(change.began) or 0.0)
    raise HalfopenError(
        "returning",
        f"{change.began.key} = {change.value} is change {change.id}, which is undone in {show_duration(left_s)}",
        hint=f"halfopen tune undo {change.id}, then apply it with --persist",
    )


def in_force(ns: Netns, directory: str | None = None) -> set[str]:
    """The settings of this namespace that changes in force set. Raises: NotPermitted, JournalError."""
    live = [c for c in Journal(directory).look().live() if not c.spot.lasting and c.spot.listener is None]
    return {c.began.key for c in live if c.began.place.inode == ns.inode and c.began.place.boot_id == boot_id()}


def outlook(ns: Netns, wanted: dict[str, int], *, persist: bool) -> Outlook:
    """What else may change these values, now and, with `persist`, when the machine boots.

    Raises: UnknownTarget, NotPermitted.
    """
    fd = ns.open()
    try:
        notes = run_in(fd, lambda: tuners.notes(list(wanted), persist))
    finally:
        os.close(fd)
    if not persist:
        return Outlook(notes=notes)
    overrides, problems = sysctl_overrides.overrides(wanted)
    if any(key.startswith(CONNTRACK) for key in wanted):
        notes.append(
            "nf_conntrack's settings exist once its module is loaded, perhaps only after sysctl.d was applied; to load"
            " it before: echo nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"
        )
    return Outlook(overrides, [*problems, *notes])
