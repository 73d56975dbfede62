"""This very code, for a process that is started: also where it runs from a checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SOURCE: Final = str(Path(__file__).resolve().parents[2])
"""The directory that holds the package."""


def python_path() -> str:
    """A value of PYTHONPATH that puts this code before what the variable holds."""
    return os.pathsep.join([SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])])
