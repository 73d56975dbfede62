"""How the level of a finding looks: its colour, and its word at the beginning of a verdict."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len

from halfopen.core.findings.finding import Level
from halfopen.present.findings.words import level_word

STYLE: Final = {
    Level.OK: "bold green",
    Level.NOTICE: "bold cyan",
    Level.WARNING: "bold yellow",
    Level.CRITICAL: "bold red",
}
_WIDTH: Final = 8


def level_column(level: Level) -> str:
    """The level as the first word of a screen, as wide for each level."""
    word = level_word(level).upper()
    return word + " " * (max(0, _WIDTH - cell_len(word)) + 2)
