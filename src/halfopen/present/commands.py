"""The commands that are proposed, as they work where they are read: by this user, and unbroken at the screen's edge."""

from __future__ import annotations

import os
import re
import shutil
from typing import Final

_CHANGES: Final = re.compile(r"\bhalfopen (?=release\b|tune apply\b|tune listener\b|tune undo\b)")
_SUDO: Final = "sudo halfopen "
_CAP_NET_ADMIN: Final = 12
# Where sudo looks on every system.
_EVERYBODYS: Final = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def may_change() -> bool:
    """Whether this process may change things in its network namespace (CAP_NET_ADMIN)."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as f:
            found = next((line.split()[1] for line in f if line.startswith("CapEff:")), "0")
        return bool(int(found, 16) >> _CAP_NET_ADMIN & 1)
    except (OSError, ValueError, IndexError):
        return os.geteuid() == 0


def runnable(command: str) -> str:
    """The command as this user can run it: by sudo, where it changes something and this process may not.

    sudo does not look where pip and pipx put halfopen for one user.
    """
    by_sudo = command.startswith(_SUDO)
    if not by_sudo and (not _CHANGES.search(command) or may_change()):
        return command
    found = shutil.which("halfopen")
    name = "halfopen" if found is None or os.path.dirname(found) in _EVERYBODYS else "$(command -v halfopen)"
    if by_sudo:
        return f"sudo {name} {command.removeprefix(_SUDO)}"
    return _CHANGES.sub(lambda _: f"sudo {name} ", command)


def filled(head: str, command: str, width: int | None, indent: int = 4) -> str:
    """The command behind `head`; where that is wider than the screen, in lines that are one command to a shell still,
    broken before options. None: no screen, one line.
    """
    line = head + command
    if width is None or len(line) <= width:
        return line
    first, *rest = re.split(r" (?=--|&& )", command)
    lines = [head + first]
    for piece in rest:
        if len(lines[-1]) + len(piece) + 3 <= width:  # a space before, and " \" behind
            lines[-1] += f" {piece}"
        else:
            lines.append(" " * indent + piece)
    return " \\\n".join(lines)
