"""A command of the operator: the notice as JSON on its standard input, the most important facts in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from halfopen.core.errors import Undelivered
from halfopen.core.notice import Notice, encode
from halfopen.core.sections.notify import NotifySettings
from halfopen.core.units import printable
from halfopen.notify import process
from halfopen.notify.receiver import Message

# The only variables of our environment that a command gets: not, for example, the directory of credentials.
_PASSED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN: Final = 200


class Hook:
    """Runs a command for each message, without a shell. Its child processes are killed when it ends."""

    batch = 1

    def __init__(self, settings: NotifySettings) -> None:
        self._command = settings.command

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Run the command; exit code 0 means delivered. Of its output, only the end is kept, for the message about a
        failure.

        Raises: Undelivered.
        """
        notice = messages[0].notice
        outcome = process.run(self._command, encode(notice) + b"\n", environment(notice, os.environ), within_s)
        if outcome.code == 0:
            return "exit code 0"
        how = f"exit code {outcome.code}" if outcome.code > 0 else f"killed by signal {-outcome.code}"
        said = printable(" ".join(outcome.errors.decode("utf-8", "replace").split()))[-_SHOWN:]
        raise Undelivered(f"{self._command[0]}: {how}" + (f": {said}" if said else ""))


def environment(notice: Notice, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command."""
    facts = {
        "INCIDENT": notice.incident,
        "STATE": notice.state.value,
        "HOST": notice.host,
        "NETNS": notice.netns,
        "LISTENER": notice.listener,
        "CAUSE": notice.cause,
        "LEVEL": notice.level,
        "TEST": "1" if notice.test else "",
    }
    passed = {name: ours[name] for name in _PASSED if name in ours}
    return {"PATH": _PATH, **passed, **{f"HALFOPEN_{name}": value for name, value in facts.items()}}
