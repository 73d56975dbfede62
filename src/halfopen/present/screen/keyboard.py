"""From the bytes that a terminal sends to the names of keys."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

ESCAPE: Final = "escape"
_NAMED: Final = {
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    **dict.fromkeys(("\x1b[C", "\x1bOC"), "right"),
    **dict.fromkeys(("\x1b[D", "\x1bOD"), "left"),
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\x08"), "backspace"),
    "\x0c": "redraw",
    "\x15": "clear",
    "\x1b": ESCAPE,
    # The function keys of htop.
    **dict.fromkeys(("\x1bOP", "\x1b[11~", "\x1b[[A"), "?"),
    **dict.fromkeys(("\x1bOS", "\x1b[14~", "\x1b[[D"), "/"),
    "\x1b[17~": "s",
    "\x1b[21~": "q",
}
_SEQUENCE: Final = re.compile(r"\x1b(?:\[\[[A-E]|\[[0-9;?]*[ -/]*[@-~]|O[A-Za-z]|(?=\x1b)|$)|.", re.DOTALL)
# The start of a sequence whose rest is still to come.
_BEGUN: Final = re.compile(r"\x1b(?:\[\[?[0-9;?]*|O)?\Z")


class KeyDecoder(Struct):
    """Takes bytes as they come, gives keys: names for special ones, a character for the others."""

    _bytes: bytes = b""
    _text: str = ""

    @property
    def waits(self) -> bool:
        """Whether the start of a sequence is there; where its rest does not come soon, it was the key Escape."""
        return bool(self._text)

    def take(self, data: bytes) -> list[str]:
        """The keys that are complete with this. Bytes that are no text are left out."""
        data = self._bytes + data
        text = data.decode("utf-8", "ignore")
        tail = _unfinished(data)
        self._bytes = data[len(data) - tail :]
        text, self._text = self._text + text, ""
        if (begun := _BEGUN.search(text)) is not None:
            text, self._text = text[: begun.start()], text[begun.start() :]
        return _keys(text)

    def flush(self) -> list[str]:
        """Nothing more came: what there is, is all."""
        text, self._text = self._text, ""
        return [ESCAPE, *_keys(text[1:])] if text.startswith("\x1b") else _keys(text)


def _keys(text: str) -> list[str]:
    found = []
    for match in _SEQUENCE.findall(text):
        if match in _NAMED:
            found.append(_NAMED[match])
        elif len(match) == 1 and match.isprintable():
            found.append(match)
    return found


def _unfinished(data: bytes) -> int:
    """How many bytes at the end are the start of a character."""
    for n in range(1, min(3, len(data)) + 1):
        first = data[-n]
        if first >= 0xC0:
            needed = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return n if n < needed else 0
        if first < 0x80:
            return 0
    return 0
