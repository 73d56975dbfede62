"""What `closing keepalive`, `probe`, `shutdown` and `destroy` say came of them."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console

from halfopen.core.fields.closing_changes import CHANGED
from halfopen.core.fields.field import json_object
from halfopen.core.policy.connection_actions import ChangedConnections
from halfopen.core.units import netns_words, plural, printable
from halfopen.present.text import propose

_DONE: Final = {
    "keepalive": "have keepalive on",
    "probe": "were probed",
    "shutdown": "were ended with a FIN",
    "destroy": "were ended with an RST",
    "undo": "have the options that they had before",
}
_WOULD: Final = {
    "keepalive": "would get keepalive",
    "probe": "would be probed",
    "shutdown": "would be ended with a FIN",
    "destroy": "would be ended with an RST",
    "undo": "would get back the options that they had before",
}
_WAYS: Final = {
    "bpf": "each was checked under its own lock",
    "descriptor": "by duplicates of the programs' descriptors",
    "netlink": "by SOCK_DESTROY",
}


def document(outcome: ChangedConnections) -> dict[str, Any]:
    """`halfopen.closing-change/1`."""
    return {"schema": "halfopen.closing-change/1", **json_object(CHANGED, outcome)}


def show(out: Console, outcome: ChangedConnections) -> None:
    """The outcome for a person."""
    if not outcome.matched:
        out.print(f"no connection matches ({printable(outcome.filter)}); nothing was changed")
        _lines(out, outcome)
        return
    if outcome.dry_run:
        n = plural(outcome.matched, "connection")
        out.print(f"{n} {_WOULD[outcome.how]} ({printable(outcome.filter)}); nothing was changed")
        _lines(out, outcome)
        return
    out.print(f"{plural(outcome.done, 'connection')} {_DONE[outcome.how]} ({printable(outcome.filter)})")
    if outcome.answered is not None:
        out.print(
            f"{plural(outcome.answered, 'peer')} answered, {outcome.silent:,} did not, {outcome.forgotten:,} had "
            "forgotten the connection, which ended"
        )
    window = f", {outcome.window_ms:.0f} ms between look and change at most" if outcome.window_ms else ""
    out.print(
        f"matched {outcome.matched:,}, left alone as they had changed {outcome.spared:,}, failed {outcome.failed:,}; "
        f"{outcome.seconds:.2f} s, {_WAYS.get(outcome.way, '')}{window}"
    )
    _lines(out, outcome)
    if outcome.record:
        propose(out, "Undo", f"halfopen closing keepalive --undo {outcome.record}{netns_words(outcome.netns)}")


def _lines(out: Console, outcome: ChangedConnections) -> None:
    for line in (*outcome.problems, *outcome.notes):
        out.print(printable(line))
