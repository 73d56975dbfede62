"""`halfopen service`: the files that make `watch` a service of systemd, and how that service is."""

from __future__ import annotations

from typing import Any

import click

from halfopen.cli import completing, saying
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
    click.echo(saying.told("the configuration is being read again; the service's log says whether it took effect"))


@command.command()
@click.argument("word", metavar="observe|configured", type=click.Choice(("observe", "configured")))
def mode(word: str) -> None:
    """Stop all releases and guards, or allow them again.

    observe: no policy releases or guards, whatever is configured, until the mode changes or the service ends.
    configured: policies act as configured. Only root may do this.
    """
    ask({"command": "mode", "mode": word})
    observes = "no release policy acts from now on; halfopen service mode configured allows releases again"
    click.echo(saying.told(observes if word == "observe" else "release policies act as configured"))


_reason_option = click.option("--reason", metavar="TEXT", default="", help="Reason to record in the audit log.")


@command.command()
@click.argument("incident", metavar="INCIDENT")
@click.option("--for", "for_time", metavar="T", help="For this long (default: until the incident is over).")
@_reason_option
def ack(incident: str, for_time: str | None, reason: str) -> None:
    """Acknowledge an incident: receivers are then told only of its end.

    INCIDENT is its ID as shown by halfopen service status, or a unique part of it. The acknowledgement is recorded in
    the audit log and shown with the incident by halfopen history. Only root may do this.
    """
    answer = ask({"command": "acknowledge", "incident": incident, "reason": reason, **_asker(), **_seconds(for_time)})
    until = _until(answer)
    said = (
        f"no notices of {answer['name']} are sent {until}; halfopen service unsilence {answer['name'][-6:]} ends that"
    )
    click.echo(saying.told(said))


@command.command()
@click.argument("listener", metavar="[ADDR]:PORT", shell_complete=completing.listeners)
@click.option("--for", "for_time", metavar="T", required=True, help="For this long, as in 1h (at most 30d).")
@_reason_option
def silence(listener: str, for_time: str, reason: str) -> None:
    """Send no notice of incidents at a listener for a time, as during maintenance.

    Incidents are still detected, shown and recorded in history, and policies act as configured. Receivers that were
    told of an incident before the silence are told of its end. Only root may do this.
    """
    answer = ask({"command": "silence", "listener": listener, "reason": reason, **_asker(), **_seconds(for_time)})
    name = answer["name"]
    said = f"no notices of incidents at {name} are sent {_until(answer)}; halfopen service unsilence {name} ends that"
    click.echo(saying.told(said))


@command.command()
@click.argument("name", metavar="INCIDENT|[ADDR]:PORT")
def unsilence(name: str) -> None:
    """End an acknowledgement or a silence.

    Receivers are then told of an incident that is still going on. halfopen service status lists acknowledgements and
    silences. Only root may do this.
    """
    answer = ask({"command": "unsilence", "name": name, **_asker()})
    click.echo(saying.told(f"notices of alarms of {answer['name']} are sent again"))


def _asker() -> dict[str, str]:
    """Who asks, where that is not root alone."""
    import os

    return {"by": os.environ["SUDO_USER"][:256]} if os.environ.get("SUDO_USER") else {}


def _seconds(text: str | None) -> dict[str, float]:
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.silence import LONGEST_S
    from halfopen.core.units import duration_s

    if text is None:
        return {}
    seconds = duration_s(text, what="--for")
    if not 0 < seconds <= LONGEST_S:
        raise UsageError(f"--for {text} is out of range", hint="give 1s to 30d")
    return {"for_s": seconds}


def _until(answer: dict[str, Any]) -> str:
    from halfopen.core.fields.history import clock

    return "until it is over" if answer["until"] is None else f"until {clock(answer['until'])}"


def _absolute(root: str) -> str:
    import os

    return os.path.abspath(root).rstrip("/") if root else ""


def _tell(laid: Any) -> None:
    from halfopen.present.commands import runnable
    from halfopen.present.language import spoken, tr

    for line in laid.done:
        click.echo(saying.told(line))
    with spoken():
        for words in laid.next:
            click.echo(f"{tr('Next')}  {runnable(words)}")
