"""`halfopen doctor`: what works here, and what would grant the rest."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.doctor/1).")
def command(as_json: bool) -> None:
    """Report what halfopen can and cannot do on this machine, why, and what would grant it.

    Every feature is actually tried, without risk: eBPF programs are loaded and unloaded, and no connection is touched.
    """
    from halfopen.ops.doctor import examine

    checkup = examine()
    from halfopen.present import doctor

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(doctor.document(checkup)))
        return
    from halfopen.present import text

    doctor.show(text.console(), checkup)
