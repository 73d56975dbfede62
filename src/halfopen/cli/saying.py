"""Messages on standard error: one line, or on a terminal as many as it needs, broken between words."""

from __future__ import annotations

import sys
from typing import Final

_PREFIX: Final = "halfopen: "
# Of further lines.
_INDENT: Final = "  "
# A narrower terminal breaks lines itself.
_LEAST: Final = 30


def say(message: str) -> None:
    """Write `halfopen: message`, with nothing in it that a terminal obeys; nothing where standard error is closed."""
    # Only here: addresses, which are in the same module, take long to import.
    from halfopen.core.units import printable

    if sys.stderr is None:
        return
    line = _PREFIX + printable(" ".join(message.split()))
    try:
        print("\n".join(_wrapped(line)), file=sys.stderr)
    except OSError:
        pass


def _wrapped(line: str) -> list[str]:
    if not sys.stderr.isatty():
        return [line]
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    if len(line) <= width or width < _LEAST:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
