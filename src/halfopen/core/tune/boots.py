"""The effect of a boot on changes that were made before it.

A change of the running system is gone with it, unless our file set the same value again while booting: then undoing
it must still lead back to what was there before, so it lives on in the namespace that was booted. The entry of the
file it was made with goes along, so that the pair is known after the next boot too.
"""

from __future__ import annotations

from collections.abc import Mapping

from halfopen.core.tune.ledger import Change, Ledger
from halfopen.core.tune.records import Then
from halfopen.core.tune.spots import Place

GONE = "the machine has been rebooted since"
AGAIN = "set again when the machine booted"


def keys_to_look_at(ledger: Ledger, boot_id: str) -> set[str]:
    """The settings whose values decide what became of changes of other boots; empty: they are all gone."""
    return {c.began.key for c in _of_others(ledger, boot_id) if _entries(ledger, c)}


def after(
    ledger: Ledger, now_s: float, boot_id: str, here: Place | None, values: Mapping[str, int | None]
) -> list[Then]:
    """The records that settle live changes of other boots than `boot_id`.

    here: the namespace that was booted, None where it could not be told; values: what it holds, for
    `keys_to_look_at`. A key without a value leaves its changes as they are: they could not be looked at.
    """
    found = []
    moved: dict[int, Then] = {}
    for change in _of_others(ledger, boot_id):
        pairs = _entries(ledger, change)
        if not pairs:
            found.append(Then(change.id, now_s, "gone", why=GONE))
            continue
        if here is None or change.began.key not in values:
            continue
        if values[change.began.key] != ledger.stack(pairs[0].spot)[-1].value:
            found.append(Then(change.id, now_s, "gone", why=GONE))
            continue
        found.append(Then(change.id, now_s, "done", change.value, AGAIN, place=here))
        moved |= {f.id: Then(f.id, now_s, "done", f.value, f.why, place=here) for f in pairs}
    return found + list(moved.values())


def _of_others(ledger: Ledger, boot_id: str) -> list[Change]:
    return [c for c in ledger.live() if c.began.place.boot_id != boot_id and not c.spot.lasting]


def _entries(ledger: Ledger, change: Change) -> list[Change]:
    """The entries of a file, in force, that set again what this change set."""
    if change.spot.listener is not None:
        return []
    place, key = change.began.place.identity, change.began.key
    return [
        f
        for f in ledger.live()
        if f.spot.lasting
        and f.state == "done"
        and (f.began.key, f.value, f.began.place.identity) == (key, change.value, place)
    ]
