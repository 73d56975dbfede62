#!/usr/bin/env python3
"""Write the manual pages in docs/man from the commands' own --help: halfopen.1, halfopen-tune-apply.1 …

build_man.py            write them
build_man.py check      say which of them are not what --help says, and fail
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DIRECTORY: Final = ROOT / "docs/man"
REPAIR: Final = "run: make man"
sys.path.insert(0, str(ROOT / "src"))

import click  # noqa: E402

from halfopen.cli.examples import EXAMPLES  # noqa: E402
from halfopen.cli.main import COMMANDS, cli  # noqa: E402

_Page = tuple[str, click.Command, click.Context]

EXITS: Final = (
    ("0", "Done, whatever the verdict of status."),
    ("1", "Failed, or done in part."),
    ("2", "Wrong usage or configuration."),
    ("3", "Not permitted, not supported, or not there."),
    ("130", "Interrupted, or answered no."),
)
FILES: Final = (
    (
        "/var/log/halfopen/audit.jsonl",
        "Where each release, change and undo is recorded; ~/.local/state/halfopen without root.",
    ),
    ("/var/lib/halfopen", "The journal of tune; ~/.local/state/halfopen without root."),
    ("/etc/sysctl.d/60-halfopen.conf", "What tune apply --persist keeps over a boot."),
)
ENVIRONMENT: Final = (
    ("HALFOPEN_AUDIT_LOG", "Another audit log."),
    ("HALFOPEN_STATE_DIR", "Another directory for the journal of tune."),
    ("HALFOPEN_HISTORY", "Where history is kept, unless an option or the configuration says so."),
    ("NO_COLOR", "When set, nothing is coloured."),
)


def quoted(text: str) -> str:
    """Text as roff prints it: no escape, no hyphen of another kind, no control line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("'", "\\(aq").replace("…", "...")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def commands() -> Iterator[_Page]:
    """Every command by its words (`tune apply`), with the context its help needs."""
    top = click.Context(cli, info_name="halfopen", **cli.context_settings)
    yield "", cli, top
    for name in COMMANDS:
        found = cli.get_command(top, name)
        if found is not None:
            yield from _below(name, found, top)


def _below(words: str, command: click.Command, above: click.Context) -> Iterator[_Page]:
    context = click.Context(command, info_name=words.rpartition(" ")[2], parent=above)
    yield words, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _below(f"{words} {name}", found, context)


def _title(words: str) -> str:
    return "-".join(["halfopen", *words.split()])


def page(words: str, command: click.Command, context: click.Context) -> str:
    """The manual page of a command, as roff."""
    title = _title(words)
    help = inspect.cleandoc(command.help or "")
    summary = COMMANDS.get(words) or " ".join(help.partition("\n\n")[0].split()).partition(". ")[0]
    lines = [f'.TH {quoted(title).upper()} 1 "" halfopen "User Commands"']
    summary = summary.rstrip(".")
    summary = summary[:1].lower() + summary[1:] if summary[1:2].islower() else summary
    # Neither hyphens nor stretched spaces: what can be copied stays in one piece.
    lines += [".nh", ".ad l", ".SH NAME", f"{quoted(title)} \\- {quoted(summary)}"]
    lines += [".SH SYNOPSIS", f".B {quoted(context.command_path)}", quoted(_usage(command))]
    lines.append(".SH DESCRIPTION")
    for i, paragraph in enumerate(help.split("\n\n")):
        lines += [*([".PP"] if i else []), quoted(" ".join(paragraph.split()))]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_entries(_listed(words, command, context))]
    shown = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    options = [record for p in shown if (record := p.get_help_record(context)) is not None]
    lines += [".SH OPTIONS", *_entries(options)]
    examples = EXAMPLES.get(words) or (() if words else EXAMPLES["status"] + EXAMPLES["release"][:1])
    lines += [".SH EXAMPLES", ".nf", *(quoted(line) for line in examples), ".fi"]
    lines += [".SH EXIT STATUS", *_entries(EXITS)]
    if not words:
        lines += [".SH FILES", *_entries(FILES), ".SH ENVIRONMENT", *_entries(ENVIRONMENT)]
    lines += [".SH SEE ALSO", _see_also(words)]
    return "\n".join(lines) + "\n"


def _usage(command: click.Command) -> str:
    arguments = [p.metavar or str(p.name).upper() for p in command.params if isinstance(p, click.Argument)]
    return " ".join(["[OPTIONS]", *arguments, *(["COMMAND [ARGS]..."] if isinstance(command, click.Group) else [])])


def _listed(words: str, group: click.Group, context: click.Context) -> list[tuple[str, str]]:
    if not words:
        return list(COMMANDS.items())
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(name, c.get_short_help_str(200)) for name, c in found if c is not None]


def _entries(pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, text in pairs:
        yield from (".TP", f".B {quoted(name)}", quoted(" ".join(text.split())))


def _see_also(words: str) -> str:
    parent = words.rpartition(" ")[0]
    near = [w for w, *_ in commands() if w != words and w.rpartition(" ")[0] in {words, parent}]
    names = sorted({_title(w) for w in near} | ({"halfopen"} if words else set()))
    return ",\n".join([*(f".BR {quoted(name)} (1)" for name in names), ".BR ss (8)"]).replace(",\n", " ,\n")


def pages() -> dict[str, str]:
    """File name → what stands in it."""
    return {f"{_title(words)}.1": page(words, one, context) for words, one, context in commands()}


def stale() -> list[str]:
    """The files that are not what they should be: missing, changed, or of no command."""
    wanted = pages()
    there = {p.name: p.read_text(encoding="utf-8") for p in DIRECTORY.glob("*")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main() -> None:
    """Write the pages, or check them."""
    if sys.argv[1:] == ["check"]:
        wrong = stale()
        if wrong:
            sys.exit(f"manual pages that are not what --help says: {', '.join(wrong)}; {REPAIR}")
        print(f"manual pages: {len(pages())}, as --help says")
        return
    DIRECTORY.mkdir(exist_ok=True)
    for name in stale():
        (DIRECTORY / name).unlink(missing_ok=True)
        if name in pages():
            (DIRECTORY / name).write_text(pages()[name], encoding="utf-8")
            print(f"{DIRECTORY.relative_to(ROOT) / name}")


if __name__ == "__main__":
    main()
