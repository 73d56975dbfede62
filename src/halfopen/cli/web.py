"""`halfopen web`: a link to the service's page."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import click

_LOCAL: Final = "localhost"
# The local port that ssh -L forwards if the page is at a Unix socket.
_PORT: Final = 9765
# A browser has read the file by then.
_OPENED_S: Final = 10


@click.command()
@click.option("--no-open", is_flag=True, help="Print the link, and start no browser.")
@click.option("--token", is_flag=True, help="Print a session instead, for a program: Authorization: Bearer TOKEN.")
def command(no_open: bool, token: bool) -> None:
    """Print a link to the service's page, and open it where there is a browser.

    The link works once, within two minutes, and opens a session for that browser. Root and members of the service's
    group get one. The page shows what halfopen status, top and history show, and changes nothing.
    """
    from halfopen.cli.saying import say
    from halfopen.cli.service_asking import ask
    from halfopen.core.units import show_duration

    answer = ask({"command": "web", "session": token})
    if token:
        click.echo(answer["session"])
        return
    listen = str(answer["listen"])
    link = f"http://{_place(listen, answer['hosts'])}/#link={answer['link']}"
    click.echo(link)
    say(
        f"open it within {show_duration(answer['lasts_s'])}; it works once, and the page then stays open for "
        f"{show_duration(answer['session_s'])}"
    )
    say(f"from another machine, first: {_tunnel(listen)}")
    if not no_open and "/" not in listen and _has_browser():
        _open(link)


def _place(listen: str, hosts: list[str]) -> str:
    """Where a browser finds the page."""
    if "/" in listen:
        return f"{_LOCAL}:{_PORT}"
    address, _, port = listen.rpartition(":")
    if address.strip("[]") in ("0.0.0.0", "::"):
        return f"{hosts[0] if hosts else os.uname().nodename}:{port}"
    return listen


def _tunnel(listen: str) -> str:
    far = listen if "/" in listen else listen.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    port = _PORT if "/" in listen else listen.rpartition(":")[2]
    return f"ssh -N -L {port}:{far} {os.uname().nodename}"


def _has_browser() -> bool:
    """Whether this is a person's own session with a screen: root starts no browser."""
    from shutil import which

    shows = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shows and os.geteuid() and sys.stdout.isatty() and os.environ.get("XDG_RUNTIME_DIR")) and bool(
        which("xdg-open")
    )


def _open(link: str) -> None:
    """Open the link by a file that only this user reads: the arguments of a program are for everybody to see."""
    import html
    import time

    path = os.path.join(os.environ["XDG_RUNTIME_DIR"], f"halfopen-web-{os.getpid()}.html")
    text = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(link)}"><title>halfopen</title>\n'
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
        try:
            started = subprocess.run(
                ["xdg-open", path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_OPENED_S,
                check=False,
            )
            if started.returncode == 0:
                time.sleep(2)
        finally:
            os.unlink(path)
    except (OSError, subprocess.TimeoutExpired):
        pass  # the link is printed
