"""Options that several commands share: the namespace and the filters."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from halfopen.core.filters import Filter
    from halfopen.core.model import Model

F = TypeVar("F", bound=Callable[..., Any])

netns_option = click.option(
    "--netns",
    metavar="NAME|PATH|pid:N|all",
    help="Network namespace to look at; all: every one of this machine.",
)


SOURCES = ("bpf", "diag", "proc")
source_option = click.option(
    "--source",
    type=click.Choice(SOURCES),
    help="Insist on one way to read: eBPF, sock_diag or /proc/net/tcp; else the best that answers.",
)


# Enough for others to be woken first; a quarter of a CPU is still ours where somebody else wants all of it.
NICER: Final = 5


def let_others_go_first() -> None:
    """Work that may go on for long runs a little nicer, so that programs of this machine do not wait for it."""
    os.nice(NICER)


def reading_and_prefixes(words: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The two uses of --source in a command with filters: a way to read (the last one given), and prefixes."""
    ways = [word for word in words if word in SOURCES]
    return (ways[-1] if ways else None), tuple(word for word in words if word not in SOURCES)


def filter_options(command: F) -> F:
    """Add --older-than, --retransmits, --listener and --source, which `chosen` turns into a Filter."""
    for option in (
        click.option("--source", metavar="CIDR", multiple=True, help="From this address or prefix (repeatable)."),
        click.option(
            "--listener", metavar="[ADDR]:PORT", multiple=True, help="To this local port, or address and port."
        ),
        click.option("--retransmits", metavar="N", type=int, help="SYN-ACK sent again at least N times."),
        click.option("--older-than", metavar="T", help="At least this old: 10s, 500ms, 2m."),
    ):
        command = option(command)
    return command


def chosen(
    older_than: str | None, retransmits: int | None, listener: tuple[str, ...], source: tuple[str, ...]
) -> Filter:
    """The Filter of the words given. Raises: UsageError."""
    from halfopen.api import make_filter

    return make_filter(older_than=older_than, retransmits=retransmits, listener=listener, source=source)


def models(
    netns: str | None,
    filter: Filter | None = None,
    *,
    owners: bool = True,
    rows: bool = True,
    source: str | None = None,
) -> tuple[list[Model], list[str]]:
    """Models of the namespaces meant, and a line for each that was skipped. Raises: HalfopenError."""
    from halfopen.kernel.bpf import opened

    # What is imported next takes longer than loading these.
    opened.begin(*{"diag": ("pulse",), "proc": ()}.get(source or "", ("walk", "pulse")))
    from halfopen import api
    from halfopen.core.errors import HalfopenError
    from halfopen.core.model import build

    how = source or "auto"
    if netns == "all":
        found, skipped = api.snapshots(owners=owners, rows=rows, source=how)
        if not found:
            raise HalfopenError("nothing-read", f"no network namespace could be read: {'; '.join(skipped)}")
        return found, skipped
    return [build(api.sample(netns, filter=filter, owners=owners, rows=rows, source=how))], []
