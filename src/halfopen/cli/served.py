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
    from halfopen.present import terminal
    from halfopen.service import client

    width = terminal.width()
    wanted = {name: value for name, value in options.items() if value not in (None, False, ())}
    request: dict[str, Any] = {"command": command, "here": client.here(), **wanted}
    if netns is not None:
        request["netns"] = netns
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
    ago = f", {age_s:.1f} s ago" if age_s >= 1 else ""
    say(f"answered by the halfopen service (pid {answer.get('pid')}){ago}; --direct reads the kernel")
    return int(answer.get("exit_code", 0))
