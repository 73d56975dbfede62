"""`halfopen service`: the files that make `watch` a service of systemd, and how that service is."""

from __future__ import annotations

from typing import Any

import click

from halfopen.cli.service_asking import ask
from halfopen.cli.suggesting import Suggesting

_root_option = click.option(
    "--root", metavar="DIR", default="", help="Write below DIR, for an image or a package; nothing is started."
)


@click.group(cls=Suggesting)
def command() -> None:
    """Install halfopen as a systemd service, remove it, and show its state.

    The service runs `halfopen watch` with the configuration /etc/halfopen/halfopen.toml, as its own user and with only
    the capabilities it needs. It answers status, list and check at a control socket.
    """


@command.command()
@click.option("--all-namespaces", is_flag=True, help="Watch every network namespace; takes CAP_SYS_ADMIN as well.")
@_root_option
@click.option("--program", metavar="PATH", default="", help="The halfopen that the unit starts (default: this one).")
@click.option("--dry-run", is_flag=True, help="Print the files instead of writing them.")
def install(all_namespaces: bool, root: str, program: str, dry_run: bool) -> None:
    """Write the unit and its other files.

    These are its user and group, its directories, the rotation of the audit log, and a sample configuration, which is
    never overwritten.
    """
    from halfopen.service import installing

    root = _absolute(root)
    made = installing.wanted(root, program, all_namespaces=all_namespaces)
    if dry_run:
        for one in made:
            click.echo(f"### {root}{one.path}\n{one.text}")
        return
    _tell(installing.install(made, root))


@command.command()
@_root_option
def uninstall(root: str) -> None:
    """Stop the service and remove its files.

    The configuration and all records stay.
    """
    from halfopen.service import installing

    _tell(installing.uninstall(_absolute(root)))


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.control/1).")
def status(as_json: bool) -> None:
    """Show what the service sees and what it uses.

    The exit code is 3 if no service answers.
    """
    from halfopen.present import jsonout, service
    from halfopen.service.mode import control_path

    answer = ask({"command": "health"})
    if as_json:
        click.echo(jsonout.dumps(answer))
        return
    incidents = ask({"command": "incidents"})["incidents"]
    for line in service.health_lines(answer, control_path(), incidents):
        click.echo(line)


@command.command()
def reload() -> None:
    """Make the service read its configuration again.

    Only root may do this. If the new configuration has an error, the service keeps the former one.
    """
    ask({"command": "reload"})
    click.echo("the configuration is read again; the service's log says whether it is in force")


@command.command()
@click.argument("word", metavar="observe|configured", type=click.Choice(("observe", "configured")))
def mode(word: str) -> None:
    """Stop all releases, or allow them again.

    observe: no release policy acts, whatever is configured, until the mode changes or the service ends. configured:
    policies act as configured. Only root may do this.
    """
    ask({"command": "mode", "mode": word})
    click.echo(
        "no release policy acts from now on; halfopen service mode configured allows releases again"
        if word == "observe"
        else "release policies act as configured"
    )


def _absolute(root: str) -> str:
    import os

    return os.path.abspath(root).rstrip("/") if root else ""


def _tell(laid: Any) -> None:
    for line in laid.done:
        click.echo(line)
    for words in laid.next:
        click.echo(f"Next  {words}")
