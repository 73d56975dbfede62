"""Options that `closing` and the commands below it share: which connections are meant."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from halfopen.cli.options import listener_option

if TYPE_CHECKING:
    from halfopen.core.closing_filter import ClosingFilter


class ClosingWords(Struct, frozen=True):
    """The words given for --process, --state, --listener, --peer, --idle and --kind; false where none were."""

    process: tuple[str, ...]
    state: tuple[str, ...]
    listener: tuple[str, ...]
    peer: tuple[str, ...]
    idle: str | None
    kind: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)

    def filter(self) -> ClosingFilter:
        """The filter that they ask for. Raises: UsageError."""
        from halfopen.core import closing_filter
        from halfopen.core.errors import UsageError
        from halfopen.core.model.closing_kinds import Signature
        from halfopen.core.units import duration_s, endpoint

        words = [one.word for one in Signature]
        for word in self.kind:
            if word not in words:
                raise UsageError(f"--kind {word!r} is not a kind", hint=f"give one of {', '.join(words)}")
        if not all(self.process):
            raise UsageError("--process needs a PID or a name", hint="as in --process 4711 or --process java")
        return closing_filter.ClosingFilter(
            tuple(dict.fromkeys(self.process)),
            tuple(dict.fromkeys(map(closing_filter.state, self.state))),
            tuple(dict.fromkeys(map(closing_filter.peer, self.peer))),
            None if self.idle is None else duration_s(self.idle, what="--idle"),
            tuple(dict.fromkeys(self.kind)),
            tuple(dict.fromkeys(map(endpoint, self.listener))),
        )


def closing_filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --process, --state, --listener, --peer, --idle and --kind, which reach the command together as `words`."""

    @functools.wraps(command)
    def with_words(*args: Any, **given: Any) -> Any:
        words = ClosingWords(**{name: given.pop(name) for name in ClosingWords.__struct_fields__})
        return command(*args, words=words, **given)

    made: Callable[..., Any] = with_words
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
        made = option(made)
    return made
