"""Files of sysctl.d: the one that halfopen owns, and which of the others has the last word on a setting at boot.

The order is that of systemd-sysctl (sysctl.d(5)) and of `sysctl --system` (sysctl(8)): a file masks those of the same
name in later directories, what is left is read in the order of names, and the last assignment of a key holds. One
that names a key by a pattern never overrides one that names it in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.errors import SysctlDError

NAME: Final = "60-halfopen.conf"
DIRECTORIES: Final = (
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
)
# `sysctl --system` reads it after all others; systemd-sysctl only where a link in a directory leads to it.
LAST: Final = "/etc/sysctl.conf"
MAX_BYTES: Final = 64 * 1024

HEADER: Final = (
    "# Written by `halfopen tune apply --persist`: set when the machine boots.\n"
    "# `halfopen tune log` lists these entries, `halfopen tune undo ID` removes one.\n"
)
_OURS: Final = "# Written by `halfopen tune"
_ENTRY: Final = re.compile(r"(net(?:\.[a-z0-9_-]{1,64}){1,8}) = (0|-?[1-9][0-9]{0,14})", re.ASCII)
_GLOB: Final = frozenset("*?[")


# --- our own file -----------------------------------------------------------------------------------------------------


def entries(data: bytes | None) -> dict[str, int]:
    """The entries of our file (None: there is none) in its order.

    Raises: SysctlDError naming the first line that we would not have written.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(data), 1):
        if line.startswith("#") and not found:
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None or entry[1] in found:
            raise SysctlDError(f"line {number} is not as halfopen wrote it")
        found[entry[1]] = int(entry[2])
    return found


def edited(data: bytes | None, key: str, value: int | None) -> bytes | None:
    """Our file with the key's entry set, or (None) without it: every other byte as it was. None: no file is left.

    Taking an entry out again that was not there before gives the bytes of before. Raises: SysctlDError, as `entries`.
    """
    there = entries(data)
    lines = _lines(data) if data is not None else HEADER.splitlines()
    if key in there:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
        lines[at : at + 1] = [] if value is None else [f"{key} = {value}"]
    elif value is not None:
        lines.append(f"{key} = {value}")
    if all(line.startswith("#") for line in lines):
        return None
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _lines(data: bytes | None) -> list[str]:
    if data is None:
        return []
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise SysctlDError("it holds bytes that halfopen did not write") from None
    if not text.startswith(_OURS):
        raise SysctlDError("it does not begin as halfopen begins it")
    if not text.endswith("\n"):
        raise SysctlDError("its last line is cut off")
    return text[:-1].split("\n")


# --- everybody's files ------------------------------------------------------------------------------------------------


class Assignment(Struct, frozen=True):
    """A line that sets one key, by its full name with dots. value None: `-key` alone, which leaves the key out."""

    line: int
    key: str
    value: str | None


class File(Struct, frozen=True):
    """A file as it would be read: its name decides the order, `path` is where it was found."""

    path: str
    data: bytes

    @property
    def name(self) -> str:
        """The file's name without its directory."""
        return self.path.rpartition("/")[2]


class Override(Struct, frozen=True):
    """A line that has the last word on a key instead of ours. value None: the key is then not set at all.

    at_boot: not only when `sysctl --system` is run.
    """

    key: str
    value: str | None
    path: str
    line: int
    at_boot: bool = True


def assignments(data: bytes) -> list[Assignment]:
    """The lines that set one key or leave it out, whatever the bytes; patterns and comments are passed over."""
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, equals, value = text.partition("=")
        name = key.removeprefix("-").strip()
        if (equals or text[0] == "-") and name and not _GLOB & set(name):
            found.append(Assignment(number, dotted(name), value.strip() if equals else None))
    return found


def dotted(name: str) -> str:
    """A key with dots: of a name that begins with a slash, or has one first, slashes separate; else the dots do."""
    name = name.lstrip("/") if name.startswith("/") else name
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate(str.maketrans("./", "/."))


def in_order(found: Iterable[File]) -> list[File]:
    """The files that count, in the order they are read; `found`: those of the first directory first."""
    by_name: dict[str, File] = {}
    for file in found:
        by_name.setdefault(file.name, file)
    return [by_name[name] for name in sorted(by_name, key=lambda name: name.encode("utf-8", "surrogateescape"))]


def overrides(files: Sequence[File], last: File | None, wanted: dict[str, int]) -> list[Override]:
    """Who has the last word on each wanted key, if that sets it to another value than is wanted.

    files: as `in_order` gives them, ours among them or not; last: /etc/sysctl.conf where no link leads to it.
    """
    after = [f for f in files if f.name.encode("utf-8", "surrogateescape") > NAME.encode()]
    return _others(after, wanted, True) + (_others([last], wanted, False) if last else [])


def _others(files: Sequence[File], wanted: dict[str, int], at_boot: bool) -> list[Override]:
    top: dict[str, Override] = {}
    for file in files:
        for a in assignments(file.data):
            # At an exclusion systemd-sysctl drops what it has (252), `sysctl --system` keeps it (procps 4.0.2).
            if a.key in wanted and (a.value is not None or at_boot):
                top[a.key] = Override(a.key, a.value, file.path, a.line, at_boot)
    return [top[key] for key, value in wanted.items() if key in top and not _same(top[key].value, value)]


def _same(text: str | None, value: int) -> bool:
    return text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) is not None and int(text) == value
