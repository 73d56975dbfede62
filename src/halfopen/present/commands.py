"""The commands that are proposed, as they work where they are read: by this user, and unbroken at the screen's edge."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from typing import Final

from halfopen.present import terminal
from halfopen.present.reader import rights

_CHANGES: Final = re.compile(
    r"\bhalfopen (?=release\b|tune (?:apply|listener|undo)\b|closing (?:keepalive|probe|shutdown|destroy)\b|"
    r"protect (?!status)|block (?!list)|unblock\b)"
)
_BY_EBPF: Final = re.compile(r"\bhalfopen (?=(?:advise|handshakes)\b)")
_SUDO: Final = "sudo halfopen "
_WRITES: Final = re.compile(r"(echo \S+) > (.+)")
# Where sudo looks on every system.
_EVERYBODYS: Final = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def may_change() -> bool:
    """Whether commands that are typed here may change things in their network namespace (CAP_NET_ADMIN)."""
    return _has("CAP_NET_ADMIN")


def may_load() -> bool:
    """Whether they may load eBPF programs: CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, of the machine.

    The capabilities of a user namespace do not count: `bpf_capable()` asks the initial one.
    """
    of_machine = rights().of_machine()
    return of_machine and (_has("CAP_SYS_ADMIN") or (_has("CAP_BPF") and _has("CAP_PERFMON")))


def _has(capability: str) -> bool:
    return not os.environ.get(terminal.FOR_OTHERS) and rights().has(capability)


def runnable(command: str) -> str:
    """The command as the reader can run it: with sudo where needed, by path where `halfopen` is not in PATH."""
    if _came_by_sudo():
        return " && ".join(_by_sudo(one) for one in command.split(" && "))
    if command.startswith(_SUDO):
        return _by_sudo(command)
    for words, may in ((_CHANGES, may_change), (_BY_EBPF, may_load)):
        if words.search(command) and not may():
            command = words.sub(lambda _: f"sudo {_name(by_sudo=True)} ", command)
    return " && ".join(_named(one, _name(by_sudo=False)) for one in command.split(" && "))


def _by_sudo(command: str) -> str:
    command = command.removeprefix("sudo ")
    writes = _WRITES.fullmatch(command)
    if writes is not None:
        return f"{writes[1]} | sudo tee {writes[2]}"  # the shell opens the file behind >, and that is not root's
    return f"sudo {_named(command, _name(by_sudo=True))}"


def _named(command: str, name: str) -> str:
    first, space, rest = command.partition(" ")
    return f"{name}{space}{rest}" if first == "halfopen" else command


def _name(*, by_sudo: bool) -> str:
    """What a shell calls this program. sudo does not look where pip and pipx put it for one user."""
    found = shutil.which("halfopen")
    if found is not None:
        return "$(command -v halfopen)" if by_sudo and os.path.dirname(found) not in _EVERYBODYS else "halfopen"
    return shlex.quote(started_as()) if started_as() and not os.environ.get(terminal.FOR_OTHERS) else "halfopen"


def started_as() -> str:
    """The path by which a shell started this program; empty where it was started in another way."""
    path = sys.argv[0]
    return path if os.path.basename(path) == "halfopen" and os.access(path, os.X_OK) else ""


def _came_by_sudo() -> bool:
    return not os.environ.get(terminal.FOR_OTHERS) and rights().by_sudo()


def for_anybody(command: str) -> str:
    """The command as a user without privileges can run it, wherever it is read."""
    for words in (_CHANGES, _BY_EBPF):
        command = words.sub(_SUDO, command)
    return command


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
