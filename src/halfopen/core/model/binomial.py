"""The exact upper bound of a share by how often it was seen (Clopper and Pearson 1934), without scipy."""

from __future__ import annotations

import math
from typing import Final

CONFIDENCE: Final = 0.95
# A term this much smaller than the sum does not change it.
_NEGLIGIBLE: Final = 1e-17
_STEPS: Final = 200


def upper_bound(seen: int, of: int, alpha: float = 1 - CONFIDENCE) -> float:
    """The largest share of which `seen` or fewer of `of` independent ones would still be seen with probability `alpha`.

    1 where `of` is 0: nothing was seen, and nothing is proved. None seen of n gives 1 - alpha^(1/n), about
    -ln(alpha) / n.

    Raises: ValueError for counts that cannot be.
    """
    if not 0 <= seen <= of or not 0 < alpha < 1:
        raise ValueError(f"{seen} of {of} with alpha {alpha}")
    if seen == of:
        return 1.0
    if seen == 0:
        return -math.expm1(math.log(alpha) / of)
    low, high = seen / of, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if tail(seen, of, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def lower_bound(seen: int, of: int, alpha: float = 1 - CONFIDENCE) -> float:
    """The smallest share of which `seen` or more of `of` would still be seen with probability `alpha`."""
    return 1.0 - upper_bound(of - seen, of, alpha) if of else 0.0


def tail(seen: int, of: int, share: float) -> float:
    """The probability of at most `seen` of `of`, each with probability `share` (above 0 and below 1)."""
    log_term = (
        math.lgamma(of + 1)
        - math.lgamma(seen + 1)
        - math.lgamma(of - seen + 1)
        + seen * math.log(share)
        + (of - seen) * math.log1p(-share)
    )
    # From the last term down, each in parts of the last: above the mean of the distribution they only shrink.
    odds = (1 - share) / share
    total, term = 1.0, 1.0
    for i in range(seen, 0, -1):
        term *= i * odds / (of - i + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, math.exp(log_term) * total)
