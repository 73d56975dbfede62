"""The command line: one module a command, loaded when it is asked for; every error one line and an exit code."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import re
import sys
from typing import Any, Final

import click

from halfopen.cli import completion, examples, saying
from halfopen.cli.suggesting import Suggesting, did_you_mean
from halfopen.core.errors import EXIT_FAILED, EXIT_REFUSED, EXIT_USAGE, HalfopenError
from halfopen.linux.own_rights import OwnRights
from halfopen.present import language, reader

# The summaries stand here so that --help loads no command.
COMMANDS: Final = {
    "status": "Show how many connections are half-open, why, and what to do.",
    "top": "Show a live screen, with keys to release and tune.",
    "list": "List half-open connections with their age.",
    "release": "Drop half-open connections now, safely.",
    "watch": "Keep watching: print changes, raise alarms, release by age.",
    "history": "Show and replay incidents that watch recorded.",
    "report": "Write a report of an incident or a day, for a post-mortem.",
    "check": "Check for Nagios, Icinga and others: a line and an exit code.",
    "diagnose": "Find causes, with evidence and with what was ruled out.",
    "advise": "Recommend release time, backlog and cookies per listener.",
    "handshakes": "Measure how long handshakes take, and SYN-ACK retransmissions.",
    "block": "Drop TCP packets from proven attackers for a limited time.",
    "unblock": "End a block before its time is up.",
    "protect": "Let honest clients connect during a SYN flood.",
    "release-time": "Compute when the kernel gives up, now and with other settings.",
    "closing": "Find leaked and idle connections, and end them gently.",
    "memory": "Show how much memory TCP uses, and which processes hold it.",
    "tune": "Explain, change and undo the kernel's settings.",
    "service": "Install or remove the systemd service, and show its state.",
    "web": "Print and open a link to the service's page.",
    "notify": "Test that alarms reach their receivers.",
    "doctor": "Report what works here, what does not, and how to grant it.",
    "lab": "Create private hosts to try every command on.",
    "completion": "Print the completion script for bash, zsh or fish.",
}

# The dynamic loader's words when a module in C does not fit into memory.
_NO_ROOM: Final = re.compile("cannot allocate memory|failed to map segment|cannot create shared object", re.IGNORECASE)
_BYTE: Final = re.compile(r"\\udc([89a-f][0-9a-f])")
# The dynamic loader's words when no file can be opened.
_NO_FILES: Final = re.compile("too many open files|error 2[34]$", re.IGNORECASE)
# Of the only catalogue there is.
_LETTER: Final = "半"


class Commands(Suggesting):
    """Loads `halfopen.cli.<name>` for the command asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"halfopen.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return examples.add(command, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _said(e: click.UsageError) -> str:
    """The message; for a word that is not among those an option knows, with the one that is near."""
    if isinstance(e, click.NoSuchOption) and e.possibilities:
        # click compares the dashes too, and so would suggest --reason for --yes.
        name = e.option_name.lstrip("-")
        near = [one for one in e.possibilities if did_you_mean(name, [one.lstrip("-")])]
        e = click.NoSuchOption(e.option_name, possibilities=near, ctx=e.ctx)
    said = e.format_message().replace("is not a valid integer range", "is not an integer")
    said = said.replace("is not a valid float range", "is not a number")
    # The choices of a missing argument, in lines of their own: its name has them already.
    said = said.partition(" Choose from:\n")[0]
    given = re.search(r"'([^']*)' is not one of", said)
    if given and isinstance(e, click.BadParameter) and e.param is not None and isinstance(e.param.type, click.Choice):
        said += did_you_mean(given[1], map(str, e.param.type.choices))
    return said


def _command_of(words: list[str]) -> str:
    """The command that these words call, as far as they name one: click's parser does not tell whose option it was."""
    found: click.Command = cli
    ctx = click.Context(cli, info_name="halfopen")
    for word in words:
        inner = found.get_command(ctx, word) if isinstance(found, click.Group) else None
        if inner is None:
            break
        found, ctx = inner, click.Context(inner, ctx, info_name=word)
    return ctx.command_path


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import halfopen

        click.echo(f"halfopen {halfopen.__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": list(examples.HELP), "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed or done in part, 2 wrong usage, 3 not permitted or not found, 130 "
    "interrupted.",
)
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """See, explain, release and prevent half-open TCP connections (SYN_RECV) on Linux."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _fail(message: str, code: int) -> int:
    # Python shows a byte that is no UTF-8 as half of a surrogate pair.
    saying.say(_BYTE.sub(r"\\x\1", message))
    return code


def _forget_output() -> None:
    """Discard buffered output, which would otherwise fail again at exit and change the exit code."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _shown(asked: str) -> str:
    """The language asked for, or English where the encoding of the output has none of its letters: they would come out
    as escapes.
    """
    try:
        (_LETTER if asked != language.ENGLISH else "").encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return language.ENGLISH
    return asked


def run(arguments: list[str] | None = None) -> Any:
    """Run one command line, with exceptions as they are (click's own `main` would turn a closed pipe into exit code
    1).
    """
    words = sys.argv[1:] if arguments is None else arguments
    language.prefer(_shown(language.of_environment()))
    reader.is_read_by(OwnRights())
    with cli.make_context("halfopen", list(words)) as ctx:
        return cli.invoke(ctx)


def outcome() -> int:
    """Run the command of the process's arguments; its exit code, with what went wrong said in one line.

    Raises: KeyboardInterrupt.
    """
    # Imports make tens of thousands of objects that stay; to look through them for garbage time and again is a tenth of
    # a short command.
    gc.set_threshold(50_000)
    # One thread is plenty for sorting; more cost start-up time and memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not sys.platform.startswith("linux"):
        return _fail(f"half-open connections are read from the Linux kernel; this is {sys.platform}", EXIT_REFUSED)
    if sys.stdout is None:
        return _fail("standard output is closed; send it to a file or to /dev/null", EXIT_FAILED)
    # A name that the terminal's encoding lacks is shown escaped; it must not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if os.environ.get(completion.COMPLETE):
            completion.answer(cli, sys.argv[1:])
            return 0
        code = run()
        sys.stdout.flush()
    except click.Abort:
        raise KeyboardInterrupt from None
    except Exception as e:
        return _failed(e)
    finally:
        gc.freeze()  # nor is there anything to look for at the end
    return code if isinstance(code, int) else 0


def _failed(error: Exception) -> int:
    """Say what went wrong, where it was foreseen; the exit code. Raises: the error itself, where it was not."""
    if isinstance(error, HalfopenError):
        return _fail(error.line(), error.exit_code)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        # A group without a command: the message is its whole help.
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else _command_of(sys.argv[1:])
        return _fail(f"{saying.told(_said(error))} (see {where} --help)", EXIT_USAGE)
    if isinstance(error, click.ClickException):
        return _fail(error.format_message(), EXIT_USAGE)
    _forget_output()
    if isinstance(error, BrokenPipeError):
        return 0  # the reader has enough
    short = _short_of(error)
    if short is not None:
        return _fail(short, EXIT_FAILED)
    if isinstance(error, OSError):
        hint = "" if os.path.exists("/proc/self") else "; /proc is not mounted here: mount -t proc proc /proc"
        return _fail(f"{error.filename or 'input/output'}: {error.strerror}{hint}", EXIT_FAILED)
    raise error


def _short_of(error: BaseException) -> str | None:
    """What the machine, or a limit on this process, has too little of; None when this is another error."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if (
            isinstance(seen, MemoryError)
            or (isinstance(seen, ImportError) and _NO_ROOM.search(text))
            or (isinstance(seen, OSError) and seen.errno == errno.ENOMEM)
            # CPython loses a MemoryError at times, and then says so.
            or (isinstance(seen, SystemError) and "returned NULL without setting an exception" in text)
        ):
            return "not enough memory; raise the limit (ulimit -v, memory.max of the cgroup) or free some"
        if (isinstance(seen, ImportError) and _NO_FILES.search(text)) or (
            isinstance(seen, OSError) and seen.errno in (errno.EMFILE, errno.ENFILE)
        ):
            return "too many open files; raise the limit (ulimit -n, fs.file-max)"
        if isinstance(seen, RuntimeError) and "start new thread" in text:
            return "no thread could be started; raise the limit (ulimit -u, pids.max of the cgroup)"
        seen = seen.__cause__ or seen.__context__
    return None
