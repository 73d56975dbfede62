"""The C library, for the system calls that Python has no function for."""

from __future__ import annotations

import ctypes
from typing import Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
"""One for all: each `CDLL` makes a class of its own, some kilobytes that only a search for garbage frees."""
