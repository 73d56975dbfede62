"""The terminal that output is made for: this process's own, or that of the client that the output is sent to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

WIDTH: Final = "HALFOPEN_TERMINAL"
"""The environment variable with the width of the client's terminal, where the output is sent to a client."""
FOR_OTHERS: Final = "HALFOPEN_FOR_OTHERS"
"""Set where the output is for a user without this process's privileges."""


def others_width() -> int | None:
    """The width of the terminal of the client that gets the output; None where there is no client."""
    word = os.environ.get(WIDTH, "")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 5 else None


def width() -> int | None:
    """Columns of the terminal; None where there is none."""
    if (others := others_width()) is not None:
        return others
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
