"""The version of Linux, for features that cannot be probed."""

from __future__ import annotations

import os
import re


def version_of(release: str) -> tuple[int, int]:
    """The first two numbers of a release: (6, 1) for "6.1.0-50-cloud-amd64"; (0, 0) if it does not begin with
    numbers.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def running() -> tuple[int, int]:
    """The version of the running kernel."""
    return version_of(os.uname().release)
