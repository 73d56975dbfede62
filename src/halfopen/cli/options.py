"""Options that several commands share: the namespace and the filters."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from halfopen.cli import completing
from halfopen.core.reading_ways import WAYS

if TYPE_CHECKING:
    from halfopen.core.filters import Filter
    from halfopen.core.model.model import Model
    from halfopen.linux.netns import Netns
    from halfopen.ops.looks import Looks

F = TypeVar("F", bound=Callable[..., Any])


def _joined(ctx: click.Context, _: click.Parameter, word: str | None) -> str | None:
    """The callback of --netns. It joins the user namespace that owns the network namespace, if this user made it: now,
    because the kernel allows that only to a process with one thread.
    """
    if word not in (None, "all") and not ctx.resilient_parsing:
        from halfopen.linux.userns import join_owner

        join_owner(word)
    return word


def _netns_option(metavar: str, help: str) -> Callable[[F], F]:
    return click.option("--netns", callback=_joined, metavar=metavar, shell_complete=completing.namespaces, help=help)


netns_option = _netns_option(
    "NAME|PATH|pid:N|all", "Network namespace (default: your own); all: every namespace of this machine."
)
one_netns_option = _netns_option("NAME|PATH|pid:N", "Network namespace (default: your own).")


# The eBPF programs of each way to read.
LOADED_FIRST: Final = {"auto": ("walk", "pulse"), "bpf": ("walk", "pulse"), "diag": ("pulse",)}
read_by_option = click.option(
    "--read-by",
    type=click.Choice(WAYS),
    help="Read only by eBPF, sock_diag or /proc/net/tcp (default: the best that works).",
)


direct_option = click.option("--direct", is_flag=True, help="Read the kernel even if the service is running.")


# Other tasks are scheduled first; on a saturated CPU this process still gets about a quarter of it.
NICER: Final = 5


def let_others_go_first() -> None:
    """Work that may go on for long runs a little nicer, so that programs of this machine do not wait for it."""
    try:
        os.nice(NICER)
    except OSError:  # a courtesy: a seccomp filter that forbids it stops nothing
        pass


def no_longer_a_way(ctx: click.Context, __: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """The callback of --source, which was once a way to read as well. Raises: UsageError."""
    from halfopen.core.errors import UsageError

    takes_it = any(p.name == "read_by" for p in ctx.command.params)
    for word in words:
        if word in WAYS:
            hint = f"to choose how connections are read, use --read-by {word}"
            if not takes_it:
                hint = f"to choose how connections are read, use --read-by {word} of status, list or watch"
            raise UsageError(f"--source {word} is not an address or prefix", hint=hint)
    return words


# The old name of --for, kept for scripts.
old_for_option = click.option("--duration", "old_for", metavar="T", hidden=True)


def worded(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """The callback of --reason: one line that says something. Raises: UsageError."""
    from halfopen.core.errors import UsageError

    line = None if text is None else " ".join(text.split())
    if line == "":
        raise UsageError("--reason is empty", hint="give a reason, or omit the option")
    return line


def _never_a_filter(_: click.Context, __: click.Parameter, word: str | None) -> None:
    from halfopen.core.errors import UsageError

    if word in WAYS:
        raise UsageError("status has no --source", hint=f"to choose how connections are read, use --read-by {word}")
    if word is not None:
        raise UsageError("status has no --source", hint="halfopen list --source CIDR shows the connections from there")


# status once took a way to read here.
no_source_option = click.option("--source", hidden=True, expose_value=False, callback=_never_a_filter)
listener_option = click.option(
    "--listener",
    metavar="[ADDR]:PORT",
    multiple=True,
    shell_complete=completing.listeners,
    help="Only connections to this local port, or address and port.",
)
audit_log_option = click.option(
    "--audit-log",
    metavar="PATH",
    shell_complete=completing.files,
    help="Audit log to write to (default /var/log/halfopen/audit.jsonl).",
)
source_option = click.option(
    "--source",
    metavar="CIDR",
    multiple=True,
    callback=no_longer_a_way,
    help="Only connections from this address or prefix.",
)
limit_option = click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    help="Show at most N rows; 0: all (default: 100 in a table, else all).",
)
format_option = click.option(
    "--format", "form", type=click.Choice(("table", "json", "ndjson", "csv")), default="table", help="Default: table."
)
reason_option = click.option("--reason", metavar="TEXT", callback=worded, help="Reason to record in the audit log.")
tune_reason_option = click.option(
    "--reason", metavar="TEXT", callback=worded, help="Reason to record in the journal; shown by tune log."
)


def filter_options(command: F) -> F:
    """Add --older-than, --retransmits, --listener and --source, which `chosen` turns into a Filter."""
    for option in (
        source_option,
        listener_option,
        click.option(
            "--retransmits",
            metavar="N",
            type=int,
            help="Only connections whose SYN-ACK was retransmitted at least N times.",
        ),
        click.option("--older-than", metavar="T", help="Only connections at least this old: 10s, 500ms, 2m."),
    ):
        command = option(command)
    return command


def chosen(
    older_than: str | None, retransmits: int | None, listener: tuple[str, ...], source: tuple[str, ...]
) -> Filter:
    """The Filter of the words given. Raises: UsageError."""
    from halfopen.api import make_filter

    return make_filter(older_than=older_than, retransmits=retransmits, listener=listener, source=source)


def here() -> Netns | None:
    """This process's own namespace under the name that its caller knows it by, where the caller is in another one."""
    from halfopen.linux.netns import entered

    return entered(os.environ.get("HALFOPEN_NETNS"))


def nothing_read(skipped: list[str]) -> Exception:
    """The error that no namespace of --netns all could be read."""
    from halfopen.core.errors import HalfopenError

    return HalfopenError("nothing-read", f"no network namespace could be read: {'; '.join(skipped)}")


def reading(netns: str | None, how: str, skipped: list[str]) -> Callable[[], list[Model]]:
    """A function that reads the chosen namespaces, without a row per request. A line for each one that it skips is
    added to `skipped`.
    """
    from halfopen import api

    def read() -> list[Model]:
        if netns != "all":
            return [api.snapshot(here() if netns is None else netns, rows=False, source=how)]
        found, passed_over = api.snapshots(rows=False, source=how)
        skipped.extend(passed_over)
        return found

    return read


def looked(netns: str | None, *, read_by: str | None = None, instant: bool = False) -> tuple[list[Looks], list[str]]:
    """Looks at the chosen namespaces, without a row per request, and a line for each that was skipped. Unless
    `instant`, a second look is taken where there is something to judge.

    Raises: HalfopenError.
    """
    from halfopen.linux import proc
    from halfopen.linux.bpf import bpf_object

    # The imports that follow take longer than loading these programs.
    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))
    if proc.has_open_files(proc.MANY_FILES):
        bpf_object.preload("owners")
    from halfopen.ops.looks import looks

    how = read_by or "auto"
    skipped: list[str] = []
    found = looks(reading(netns, how, skipped), way=how, instant=instant)
    if not found:
        raise nothing_read(skipped)
    return found, skipped
