"""When a few are no chance."""

from __future__ import annotations

from typing import Final

# As many that do the same are no chance.
SOME: Final = 5
