"""When a few are no chance, and when so few are none."""

from __future__ import annotations

import math
from typing import Final

# As many that do the same are no chance.
SOME: Final = 5
# Where so many late ones are expected, a third of them or none is no chance.
_NO_CHANCE: Final = 5.0
_FAR_FEWER: Final = 3


def keep_failing(finished: float, late: float, stay: float) -> bool:
    """Whether the handshakes that stay have another reason than a path that loses packets: it makes the second SYN-ACK
    fail as often as the first one, so that more are late than stay.

    All of one time: so many finished, of these so many late, and so many stay.
    """
    twice = stay / (finished + stay)
    expected = (math.sqrt(twice) - twice) * (finished + stay)
    return expected >= _NO_CHANCE and late * _FAR_FEWER < expected
