"""Messages on standard error, in the reader's language: one line, or on a terminal as many as it needs, broken between
words.
"""

from __future__ import annotations

import sys
from typing import Final

from halfopen.present import language

_PREFIX: Final = "halfopen: "
# The indentation of further lines.
_INDENT: Final = "  "
# A narrower terminal breaks lines itself.
_LEAST: Final = 30


def say(message: str) -> None:
    """Write `halfopen: message`, with nothing in it that a terminal obeys; nothing where standard error is closed."""
    if sys.stderr is None:
        return
    line = _PREFIX + told(" ".join(message.split()))
    try:
        print("\n".join(_wrapped(line)), file=sys.stderr)
    except OSError:
        pass


def told(message: str) -> str:
    """The message in the reader's language."""
    # Only here: addresses, which are in the same module, and sentences take long to import.
    if language.preferred() == language.ENGLISH:
        from halfopen.core.units import printable

        return printable(message)
    from halfopen.present.told import told

    with language.spoken():
        return told(message)


def _wrapped(line: str) -> list[str]:
    if not sys.stderr.isatty():
        return [line]
    import shutil

    width = shutil.get_terminal_size().columns
    return [line] if width < _LEAST else language.wrapped(line, width, _INDENT)
