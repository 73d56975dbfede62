"""The C library, for system calls that Python does not offer."""

from __future__ import annotations

import ctypes
from typing import Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
"""Shared by all users: each `CDLL` creates a class, some kilobytes that only the cyclic garbage collector frees."""
