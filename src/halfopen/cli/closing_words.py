"""Options that `closing` and the commands below it share: which connections are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli.options import listener_option

if TYPE_CHECKING:
    from halfopen.core.closing_filter import ClosingFilter

F = TypeVar("F", bound=Callable[..., Any])


def closing_filter_options(command: F) -> F:
    """Add --process, --state, --listener, --peer, --idle and --kind, which `filter_of` turns into a ClosingFilter."""
    for option in (
        click.option(
            "--kind", metavar="KIND", multiple=True, help="Only connections of this kind, as in the column KIND."
        ),
        click.option(
            "--idle", metavar="T", help="Only connections without data in either direction for this long: 10m, 400ms."
        ),
        click.option(
            "--peer", metavar="ADDR[:PORT]|CIDR|:PORT", multiple=True, help="Only connections with this peer."
        ),
        listener_option,
        click.option(
            "--state", metavar="STATE", multiple=True, help="Only connections in this state: close-wait, fin-wait-2, …"
        ),
        click.option(
            "--process",
            metavar="PID|NAME",
            multiple=True,
            help="Only connections held by this process, or by the processes of this name, unit or container.",
        ),
    ):
        command = option(command)
    return command


def filter_of(
    *,
    process: tuple[str, ...],
    state: tuple[str, ...],
    listener: tuple[str, ...],
    peer: tuple[str, ...],
    idle: str | None,
    kind: tuple[str, ...],
) -> ClosingFilter:
    """The ClosingFilter of the words given. Raises: UsageError."""
    from halfopen.core import closing_filter
    from halfopen.core.errors import UsageError
    from halfopen.core.model.closing_kinds import Signature
    from halfopen.core.units import duration_s, endpoint

    words = [one.word for one in Signature]
    for word in kind:
        if word not in words:
            raise UsageError(f"--kind {word!r} is not a kind", hint=f"give one of {', '.join(words)}")
    if not all(process):
        raise UsageError("--process needs a PID or a name", hint="as in --process 4711 or --process java")
    return closing_filter.ClosingFilter(
        tuple(dict.fromkeys(process)),
        tuple(dict.fromkeys(map(closing_filter.state, state))),
        tuple(dict.fromkeys(map(closing_filter.peer, peer))),
        None if idle is None else duration_s(idle, what="--idle"),
        tuple(dict.fromkeys(kind)),
        tuple(dict.fromkeys(map(endpoint, listener))),
    )
