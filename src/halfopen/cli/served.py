"""Commands that show something, answered by the service where it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

from halfopen.cli.saying import say
from halfopen.service import mode

# A terminal that is narrower or wider gets what this one would.
_NARROWEST, _WIDEST = 20, 1000


def possible(netns: str | None) -> bool:
    """Whether a service may be there that could answer for this namespace: it takes names and pid:N, no paths."""
    return "/" not in (netns or "") and os.path.exists(mode.control_path())


def answered(command: str, netns: str | None, **options: Any) -> int | None:
    """Print what the service answers, and say that it was the service. Returns the exit code; None where the kernel is
    to be read directly: nobody answers, or the service does not look at that namespace.
    """
    from halfopen.core.errors import HalfopenError
    from halfopen.present import language, terminal
    from halfopen.present.service import answered_by
    from halfopen.service import client

    width = terminal.width()
    wanted = {name: value for name, value in options.items() if value not in (None, False, ())}
    request: dict[str, Any] = {"command": command, "here": client.here(), **wanted}
    if netns is not None:
        request["netns"] = netns
    if language.preferred() != language.ENGLISH:
        request["language"] = language.preferred()
    if width is not None:
        request |= {"width": min(max(width, _NARROWEST), _WIDEST), "colour": not os.environ.get("NO_COLOR")}
    try:
        answer = client.ask(mode.control_path(), request)
    except HalfopenError as e:
        say(e.message)
        return None
    if answer is None:
        return None
    if not answer.get("ok"):
        error = answer.get("error") or {}
        if error.get("id") != "elsewhere":
            say(f"the service did not answer: {error.get('message')}; the kernel is read instead")
        return None
    sys.stdout.write(str(answer.get("output", "")))
    sys.stdout.flush()
    if sys.stderr is not None:
        sys.stderr.write(str(answer.get("errors", "")))
    age_s = float(answer.get("age_s") or 0.0)
    say(answered_by(answer.get("pid"), age_s))
    return int(answer.get("exit_code", 0))


def show_incidents(netns: str | None) -> None:
    """Print a line for each incident of this namespace that the service sees, and who acknowledged or silenced it."""
    from halfopen.core.errors import HalfopenError
    from halfopen.service import client

    try:
        answer = client.ask(mode.control_path(), {"command": "incidents"}) or {}
    except HalfopenError:
        return  # it has answered what was asked for
    inode = client.here() if netns in (None, "self") else _inode(netns or "")
    on = [i for i in answer.get("incidents", ()) if netns in ("all", i["netns"]) or i["netns_inode"] == inode]
    if on:
        from halfopen.present.service import incident_line

        sys.stdout.write("".join(f"{incident_line(one)}\n" for one in on))
        sys.stdout.flush()


def _inode(netns: str) -> int | None:
    """The inode of the namespace of a process, `pid:N`; None where it cannot be told."""
    try:
        return os.stat(f"/proc/{netns.removeprefix('pid:')}/ns/net").st_ino
    except OSError:
        return None
