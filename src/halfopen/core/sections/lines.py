"""The lines on which the keys of a TOML text stand; `tomllib` tells the values and not where they are."""

from __future__ import annotations

import re
import tomllib
from typing import Final

KeyPath = tuple[str | int, ...]
"""A key from the top of the file on; a number is the place of a table in an array of tables, or of an array's value."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1 on, of every table and key of a TOML text that `tomllib` takes."""
    scan = _Scan(text.replace("\r\n", "\n"))
    try:
        scan.document()
    except (IndexError, RecursionError):
        pass  # nested deeper than we follow: the outer keys have their lines
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._table: KeyPath = ()
        self._arrays: dict[KeyPath, int] = {}
        self._counted = (0, 1)

    def document(self) -> None:
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._table)

    def _skip(self, what: re.Pattern[str]) -> int:
        match = what.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return self._at

    def _line(self) -> int:
        at, line = self._counted
        self._counted = self._at, line + self._text.count("\n", at, self._at)
        return self._counted[1]

    def _header(self) -> None:
        line, several = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if several else 1
        *outer, last = self._key()
        path: KeyPath = ()
        for part in outer:
            self.lines.setdefault((*path, part), line)
            path = self._inside((*path, part))
        path = (*path, last)
        self.lines.setdefault(path, line)
        if several:
            self._arrays[path] = self._arrays.get(path, -1) + 1
        self._table = self._inside(path)
        self.lines.setdefault(self._table, line)
        self._at += 2 if several else 1

    def _inside(self, path: KeyPath) -> KeyPath:
        """The table that a header means by this path: of an array of tables, the last one."""
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            begun = self._at
            if self._text[begun] in "\"'":
                self._skip(_STRING)
                parts.append(str(tomllib.loads(f"x={self._text[begun : self._at]}")["x"]))
            else:
                self._skip(_BARE)
                parts.append(self._text[begun : self._at])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        line, path = self._line(), table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._at += 1  # =
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip(_SPACE)
        opening = self._text[self._at]
        if opening in "[{":
            self._several(path, "]" if opening == "[" else "}")
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _several(self, path: KeyPath, closing: str) -> None:
        """The values of an array, or the pairs of an inline table."""
        self._at += 1
        place = 0
        while self._text[self._skip(_BLANK)] != closing:
            if self._text[self._at] == ",":
                self._at += 1
            elif closing == "]":
                self.lines[*path, place] = self._line()
                self._value((*path, place))
                place += 1
            else:
                self._pair(path)
        self._at += 1
