"""The command line: one module a command, loaded when it is asked for; every error one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn

import click

from halfopen.core.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_USAGE, HalfopenError

# The summaries stand here so that --help loads no command.
COMMANDS: Final = {
    "status": "One screen: how many half-open connections, why, and what to do.",
    "list": "Every half-open connection, with its age.",
    "release": "Drop half-open connections now, safely.",
    "watch": "Keep watching: a line on change, an alarm on growth, a release by age.",
    "handshakes": "How long handshakes take that do finish, and how often the SYN-ACK goes again.",
    "release-time": "When the kernel gives up, now and with other settings.",
    "tune": "The kernel's settings for it: explained, changed live, and undone.",
    "doctor": "What works here, what does not, and what would grant it.",
    "lab": "Private hosts in namespaces to try it all on.",
}


class Commands(click.Group):
    """Loads `halfopen.cli.<name>` for the command asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"halfopen.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import halfopen

        click.echo(f"halfopen {halfopen.__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed or in part, 2 wrong usage, 3 not permitted or not there, 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """See, explain, release and prevent half-open TCP connections (SYN_RECV) on Linux."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    # One line whatever is in it: a file name may hold a newline.
    line = " ".join(message.split())
    if sys.stderr is None:
        sys.exit(code)
    try:
        print(f"halfopen: {line}", file=sys.stderr)
    except OSError:
        pass
    sys.exit(code)


def _forget_output() -> None:
    """Let what is still buffered not raise again at exit, where it would change the exit code."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def run(arguments: list[str] | None = None) -> Any:
    """Run one command line, with exceptions as they are (click's own `main` would turn a closed pipe into exit code
    1).
    """
    words = sys.argv[1:] if arguments is None else arguments
    with cli.make_context("halfopen", list(words)) as ctx:
        return cli.invoke(ctx)


def main() -> NoReturn:
    """The entry point: runs the command and ends the process with its exit code."""
    # Imports make tens of thousands of objects that stay; to look through them for garbage time and again is a tenth of
    # a short command.
    gc.set_threshold(50_000)
    # One thread is plenty for sorting; more cost start-up time and memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not sys.platform.startswith("linux"):
        _fail(f"half-open connections are read from the Linux kernel; this is {sys.platform}", EXIT_REFUSED)
    if sys.stdout is None:
        _fail("standard output is closed; send it to a file or to /dev/null", EXIT_FAILED)
    # A name that the terminal's encoding lacks is shown escaped; it must not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = run()
        sys.stdout.flush()
    except HalfopenError as e:
        _fail(e.line(), e.exit_code)
    except click.exceptions.Exit as e:
        code = e.exit_code
    except click.UsageError as e:
        where = e.ctx.command_path if e.ctx else "halfopen"
        _fail(f"{e.format_message()} (see {where} --help)", EXIT_USAGE)
    except click.ClickException as e:
        _fail(e.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_output()  # the reader has enough
        code = 0
    except OSError as e:
        _forget_output()
        _fail(f"{e.filename or 'input/output'}: {e.strerror}", 1)
    finally:
        gc.freeze()  # nor is there anything to look for at the end
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
