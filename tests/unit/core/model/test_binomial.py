"""The exact bound of a share, against other ways to reckon it."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from halfopen.core.model.binomial import lower_bound, tail, upper_bound

ALPHA = 0.05
SIX = ALPHA / 6


@pytest.mark.parametrize(
    ("seen", "of", "alpha", "one_in"),
    [
        (0, 3004, ALPHA, 1003),
        (0, 3004, SIX, 627),
        (24, 3004, ALPHA, 89),
        (0, 84_000, ALPHA, 28_040),
        (0, 84_000, SIX, 17_546),
        (2, 84_000, ALPHA, 13_342),
        (0, 29_956, ALPHA, 10_000),
        (0, 299_572, ALPHA, 100_000),
        (0, 47_873, SIX, 10_000),
        (0, 478_747, SIX, 100_000),
        (0, 120, SIX, 25),
    ],
)
def test_shares_that_were_reckoned_elsewhere(seen: int, of: int, alpha: float, one_in: int) -> None:
    assert int(1 / upper_bound(seen, of, alpha)) == one_in


def exact(seen: int, of: int, share: Fraction) -> Fraction:
    """The probability of at most `seen`, in whole numbers."""
    n, d = share.numerator, share.denominator
    return Fraction(sum(comb(of, i) * n**i * (d - n) ** (of - i) for i in range(seen + 1)), d**of)


@pytest.mark.parametrize(("seen", "of"), [(0, 1), (0, 7), (1, 7), (3, 10), (9, 10), (24, 300), (150, 300), (299, 300)])
def test_the_bound_is_where_the_exact_tail_is_alpha(seen: int, of: int) -> None:
    bound = upper_bound(seen, of, ALPHA)
    assert float(exact(seen, of, Fraction(bound))) == pytest.approx(ALPHA, rel=1e-9)
    assert bound > seen / of
    assert float(exact(seen, of, Fraction(bound * 0.999))) > ALPHA


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_the_tail(share: float) -> None:
    for of in (1, 12, 200):
        for seen in {0, of // 3, of - 1}:
            assert tail(seen, of, share) == pytest.approx(float(exact(seen, of, Fraction(share))), rel=1e-9)


def test_large_counts_take_no_time_and_stay_exact() -> None:
    bound = upper_bound(250_000, 500_000)
    # The normal approximation, to three digits: 1.645 standard deviations above a half.
    assert bound == pytest.approx(0.5 + 1.645 * (0.25 / 500_000) ** 0.5, rel=1e-4)


def test_nothing_seen_of_nothing_proves_nothing() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(5, 5) == 1.0
    assert lower_bound(0, 0) == 0.0
    assert lower_bound(0, 10) == 0.0
    assert lower_bound(30, 3000) == pytest.approx(1 - upper_bound(2970, 3000))
    for seen, of, alpha in ((-1, 3, ALPHA), (4, 3, ALPHA), (1, 3, 0.0)):
        with pytest.raises(ValueError, match="of"):
            upper_bound(seen, of, alpha)
