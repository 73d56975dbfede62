"""The ways to read sockets."""

from __future__ import annotations

from typing import Final

WAYS: Final = ("bpf", "diag", "proc")
"""The best first; "auto" takes the first that answers."""
