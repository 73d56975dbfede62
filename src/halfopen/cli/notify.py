"""`halfopen notify`: try whether messages arrive."""

from __future__ import annotations

import click

from halfopen.cli.completing import files
from halfopen.cli.suggesting import Suggesting
from halfopen.service.unit import CONFIG


@click.group(cls=Suggesting)
def command() -> None:
    """Test the receivers of alarms: the [[notify]] sections of the configuration."""


@command.command(short_help="Send a test message to every receiver, or to those named.")
@click.option(
    "--config", metavar="FILE", default=CONFIG, show_default=True, shell_complete=files, help="TOML configuration file."
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.pass_context
def test(ctx: click.Context, config: str, names: tuple[str, ...]) -> None:
    """Send a test message to every receiver, or to those named, and show what each answered.

    Exits with 0 if every receiver accepted the message, otherwise with 1. The message goes to receivers whatever causes
    and levels they are configured for.
    """
    from halfopen.cli.watch_config import load
    from halfopen.core.errors import UsageError
    from halfopen.linux import privileges
    from halfopen.ops.notify_test import chosen, try_all
    from halfopen.present import language
    from halfopen.present.tried import tried_line
    from halfopen.service.face_keeper import face_user

    settings = load(config)
    receivers = chosen(settings.notify, names)
    if not receivers:
        raise UsageError(f"{config} names no receiver", hint="add a [[notify]] section (docs/notify.md)")
    if settings.language:
        language.prefer(settings.language)
    # As the process that delivers for watch and the service: whatever it could not do fails here too.
    privileges.give_up_all(face_user())
    called, failed = [one.called for one in receivers], False
    for one in try_all(receivers):
        click.echo(tried_line(one.name, one.kind, one.delivered, one.answer, one.seconds, called))
        failed |= not one.delivered
    ctx.exit(1 if failed else 0)
