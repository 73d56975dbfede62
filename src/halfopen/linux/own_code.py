"""The location of this code, for child processes: also when it runs from a checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SOURCE: Final = str(Path(__file__).resolve().parents[2])
"""The directory that holds the package."""


def python_path() -> str:
    """PYTHONPATH with the directory of this code in front."""
    return os.pathsep.join([SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])])
