"""Paths of systemd: the directory that shows that it runs (sd_booted(3)), and the socket of its journal."""

from __future__ import annotations

from typing import Final

RUNS: Final = "/run/systemd/system"
JOURNAL: Final = "/run/systemd/journal/socket"
