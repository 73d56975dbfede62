"""`halfopen lab`: private hosts with half-open connections to look at, and a command run among them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import click
from msgspec import Struct

from halfopen.cli import completing, signals
from halfopen.cli.options import old_for_option
from halfopen.core.errors import UsageError
from halfopen.present import commands

if TYPE_CHECKING:
    from halfopen.lab import Lab, LabListener
    from halfopen.lab.host import LabHost
    from halfopen.lab.sources import SourceKind

_MOST_S = 600.0
_STAY = "30s"
_DEFER_S = 60
_ENDS_ITSELF_S = 3.0
# Python loses a signal that comes while it is about to block, which busy threads make likely: never block for long.
_LOOK_S = 0.2


class _Plan(Struct, frozen=True):
    half_open: int
    rate: float | None
    sources: SourceKind
    ipv6: bool
    honest: int
    defer: bool
    never_accept: bool
    backlog: int | None
    port: int
    stay_s: float


@click.command()
@click.option("--half-open", metavar="N", type=click.IntRange(0, 2_000_000), default=100, show_default=True,
              help="How many connections to leave half-open.")  # fmt: skip
@click.option("--rate", metavar="R", type=click.FloatRange(0, 1_000_000, min_open=True),
              help="Send R SYNs a second, in the background (default: all at once).")  # fmt: skip
@click.option("--sources", type=click.Choice(["spoofed", "few", "one"]), default="spoofed", show_default=True,
              help="Send SYNs from many addresses, from eight, or from one.")  # fmt: skip
@click.option("--ipv6", is_flag=True, help="Send SYNs over IPv6; the listener also accepts IPv4.")
@click.option("--honest", metavar="N", type=click.IntRange(0, 20_000), default=0,
              help="Also connect N clients that complete their handshake.")  # fmt: skip
@click.option("--defer", is_flag=True, help="Accept connections only once data arrives (TCP_DEFER_ACCEPT).")
@click.option("--never-accept", is_flag=True, help="Never accept a connection, so that the accept queue fills up.")
@click.option("--backlog", metavar="N", type=click.IntRange(0, 4_000_000),
              help="Backlog of the listener (default: more than needed).")  # fmt: skip
@click.option("--port", metavar="P", type=click.IntRange(1, 65535), default=8080, show_default=True,
              help="Port of the listener.")  # fmt: skip
@click.option("--scene", metavar="NAME", shell_complete=completing.scenes,
              help="Set up one cause of trouble, or a healthy server, instead; list: name the scenes.")  # fmt: skip
@click.option("--seed", metavar="N", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Draw the rates, ports and delays of the scene from N.")  # fmt: skip
@click.option("--for", "for_time", metavar="T",
              help="How long the lab runs when no COMMAND is given.  [default: 30s]")  # fmt: skip
@old_for_option
@click.argument("command", nargs=-1, metavar="[-- COMMAND ...]", type=click.UNPROCESSED)
def command(
    half_open: int,
    rate: float | None,
    sources: SourceKind,
    ipv6: bool,
    honest: int,
    defer: bool,
    never_accept: bool,
    backlog: int | None,
    port: int,
    scene: str | None,
    seed: int,
    for_time: str | None,
    old_for: str | None,
    command: tuple[str, ...],
) -> int:
    """Create a private server and client with half-open connections between them, to try any command on.

    COMMAND runs in the network namespace of the server, with HALFOPEN_NETNS set to its path, and lab exits with the
    exit code of COMMAND. No packet leaves this machine, and everything is removed at the end. Where user namespaces are
    allowed, root is not needed.
    """
    from halfopen.core.units import duration_s
    from halfopen.lab import Lab, enter_user_namespace

    stay = for_time if for_time is not None else old_for if old_for is not None else _STAY
    stay_s = duration_s(stay, what="--for")
    if stay_s > _MOST_S:
        raise UsageError(f"--for {stay} is too long", hint="a lab runs for at most 10m")
    if scene is not None:
        return _show_scene(scene, seed, stay_s, command)
    plan = _Plan(half_open, rate, sources, ipv6, honest, defer, never_accept, backlog, port, stay_s)
    enter_user_namespace()
    with Lab() as lab:
        told = _begin(lab, plan)
        out = sys.stderr if command else sys.stdout
        print(f"lab: {told}", file=out)
        look = commands.runnable(f"halfopen status --netns {lab.server.netns_path}")
        print(f"Look  {look}", file=out, flush=True)
        if command:
            return _run(lab.server, command)
        _stay(stay_s)
    return 0


def _show_scene(name: str, seed: int, stay_s: float, words: tuple[str, ...]) -> int:
    from halfopen.cli import lab_scene

    _no_other_options()
    if name == "list":
        lab_scene.print_list()
        return 0
    with lab_scene.opened(name, seed) as stage:
        out = sys.stderr if words else sys.stdout
        lab_scene.print_truth(stage, out)
        if words:
            return _run(stage.server, words)
        _stay(stay_s)
    return 0


def _no_other_options() -> None:
    """Raises: UsageError where an option of the plain lab is given with --scene."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    for name in ("half_open", "rate", "sources", "ipv6", "honest", "defer", "never_accept", "backlog", "port"):
        if context.get_parameter_source(name) is given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--scene does not go with {option}", hint="a scene draws its own; another --seed, other ones"
            )


def _stay(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))


def _begin(lab: Lab, plan: _Plan) -> str:
    """Open the listener and the traffic; what there is now, in words."""
    from halfopen.core.units import endpoint_text, plural

    web = lab.server.listen(
        plan.port,
        "::" if plan.ipv6 else "0.0.0.0",
        # More than half full, the kernel prunes a queue by itself: room for twice as many keeps what was asked for.
        plan.backlog if plan.backlog is not None else max(1024, 2 * plan.half_open),
        "never" if plan.never_accept else "accept",
        defer_accept_s=_DEFER_S if plan.defer else 0,
    )
    words = [f"server {endpoint_text(web.target(), web.port)}"]
    if plan.honest:
        clients = lab.client.connect(web, plan.honest)
        some = f"{clients.connected:,} of " if clients.connected < plan.honest else ""
        words.append(some + plural(plan.honest, "honest client") + " connected" * bool(some))
    if plan.half_open:
        words.append(_leave_half_open(lab, web, plan))
    return ", ".join(words)


def _leave_half_open(lab: Lab, web: LabListener, plan: _Plan) -> str:
    from halfopen.core.units import plural

    if plan.rate is None:
        sent = lab.client.half_open(web, plan.half_open, sources=plan.sources)
        return f"{plural(sent.count, 'SYN')} sent ({plan.sources}), {lab.server.half_open(web.port):,} half-open"
    seconds = plan.half_open / plan.rate
    if seconds > _MOST_S:
        raise UsageError(
            f"{plan.half_open:,} at {plan.rate:g} a second take {seconds:g} s", hint="a flood lasts at most 10m"
        )
    lab.client.flood(web, plan.rate, seconds, sources=plan.sources)
    return f"{plural(plan.half_open, 'SYN')} at {plan.rate:g} a second ({plan.sources})"


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C, which the terminal gave the command too; SIGTERM is for the lab alone."""


def _interrupted(number: int) -> NoReturn:
    raise _Interrupted if number == signal.SIGINT else KeyboardInterrupt


def _ended(process: subprocess.Popen[str]) -> int:
    """The exit code, as soon as there is one."""
    pidfd = os.pidfd_open(process.pid)
    try:
        # select() takes no descriptor above 1,023, and each honest client is one.
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        while not ended.poll(_LOOK_S * 1000):
            pass
    finally:
        os.close(pidfd)
    return process.wait()


def _let_it_find_us() -> None:
    """Let the command call halfopen by its name where PATH does not lead to it: in a clone, and by sudo with pipx."""
    if shutil.which("halfopen") is None:
        here = os.path.dirname(os.path.abspath(commands.started_as() or sys.executable))
        os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{here}"


def _run(server: LabHost, words: tuple[str, ...]) -> int:
    """Run the command inside the server's namespace; its exit code (128 + N when signal N ended it)."""
    _let_it_find_us()
    signals.take_first(_interrupted)
    process = server.spawn(list(words), stdin=None, env={**os.environ, "HALFOPEN_NETNS": server.netns_path})
    try:
        code = _ended(process)
    except _Interrupted:
        try:
            code = process.wait(_ENDS_ITSELF_S)
        except subprocess.TimeoutExpired:
            raise KeyboardInterrupt from None
    finally:
        server.end(process)
    return code if code >= 0 else 128 - code
