"""The terminal that an output is made for: this process's own, or that of somebody the output is sent to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

WIDTH: Final = "HALFOPEN_TERMINAL"
"""The environment variable with the width of the terminal of somebody else, who gets the output."""
FOR_OTHERS: Final = "HALFOPEN_FOR_OTHERS"
"""Set where the output is for a user without this process's privileges."""


def others_width() -> int | None:
    """The width of the terminal of whoever gets the output; None where that is nobody else."""
    word = os.environ.get(WIDTH, "")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 5 else None


def width() -> int | None:
    """Columns of the terminal; None where there is none."""
    if (others := others_width()) is not None:
        return others
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
