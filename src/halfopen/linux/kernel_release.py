"""Which Linux this is, for where only the version tells what it can do."""

from __future__ import annotations

import os
import re


def version_of(release: str) -> tuple[int, int]:
    """The two numbers that a release begins with: (6, 1) of "6.1.0-50-cloud-amd64"; (0, 0) of words."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def running() -> tuple[int, int]:
    """The version of the running kernel."""
    return version_of(os.uname().release)
