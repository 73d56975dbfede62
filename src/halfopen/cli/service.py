"""`halfopen service`: the files that make `watch` a service of systemd, and how that service is."""

from __future__ import annotations

from typing import Any

import click

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

    answer = _ask({"command": "health"})
    if as_json:
        click.echo(jsonout.dumps(answer))
        return
    incidents = _ask({"command": "incidents"})["incidents"]
    for line in service.health_lines(answer, control_path(), incidents):
        click.echo(line)


@command.command()
def reload() -> None:
    """Make the service read its configuration again.

    Only root may do this. If the new configuration has an error, the service keeps the former one.
    """
    _ask({"command": "reload"})
    click.echo("the configuration is read again; the service's log says whether it is in force")


@command.command()
@click.argument("word", metavar="observe|configured", type=click.Choice(("observe", "configured")))
def mode(word: str) -> None:
    """Stop all releases, or allow them again.

    observe: no release policy acts, whatever is configured, until the mode changes or the service ends. configured:
    policies act as configured. Only root may do this.
    """
    _ask({"command": "mode", "mode": word})
    click.echo(
        "no release policy acts from now on; halfopen service mode configured allows releases again"
        if word == "observe"
        else "release policies act as configured"
    )


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """The service's answer. Raises: HalfopenError when there is none, or it refuses."""
    from halfopen.core.errors import EXIT_FAILED, EXIT_REFUSED, HalfopenError
    from halfopen.service import client
    from halfopen.service.mode import control_path

    path = control_path()
    answer = client.ask(path, request)
    if answer is None:
        raise HalfopenError("service", client.why_not(path), exit_code=EXIT_REFUSED)
    if not answer.get("ok"):
        error = answer.get("error") or {}
        code = error.get("exit_code", EXIT_FAILED)
        raise HalfopenError(
            str(error.get("id")), str(error.get("message")), exit_code=code, hint=str(error.get("hint"))
        )
    return answer


def _absolute(root: str) -> str:
    import os

    return os.path.abspath(root).rstrip("/") if root else ""


def _tell(laid: Any) -> None:
    for line in laid.done:
        click.echo(line)
    for words in laid.next:
        click.echo(f"Next  {words}")
