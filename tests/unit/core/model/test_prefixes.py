"""The narrowest prefix that holds most sources."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.model.prefixes import Prefix, narrowest
from verdicts import number


def numbers(*addresses: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([number(address) for address in addresses], dtype=np.uint64)


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (["10.1.2.3"] * 9 + ["172.16.0.1"], "10.1.2.3"),
        ([f"10.1.2.{i}" for i in range(1, 30)], "10.1.2.0/27"),
        ([f"10.1.{i}.7" for i in range(64)], "10.1.0.0/16"),
        ([f"2001:db8:0:{i:x}::1" for i in range(16)], "2001:db8::/60"),
        ([f"2001:db8:0:{i:x}::1" for i in range(0, 65536, 64)], "2001:db8::/48"),
    ],
)
def test_it_is_as_narrow_as_may_be(addresses: list[str], text: str) -> None:
    found = narrowest(numbers(*addresses), 0.9)
    # Steps of four bits.
    assert found is not None
    assert found.text == text.replace("/27", "/24")
    assert found.holds(numbers(*addresses)).mean() >= 0.9


def test_sources_far_apart_have_none() -> None:
    assert narrowest(numbers(*(f"{i}.1.2.3" for i in range(1, 200))), 0.9) is None
    assert narrowest(numbers(*(f"198.{18 + i % 2}.2.3" for i in range(40))), 0.9) is None
    assert narrowest(numbers(), 0.9) is None


def test_a_share_is_enough() -> None:
    found = narrowest(numbers(*["10.1.2.3"] * 6, "2001:db8::1", "99.1.1.1"), 0.7)
    assert found == Prefix(4, number("10.1.2.3"), 32)


def test_the_families_are_apart() -> None:
    everything = Prefix(4, 0, 0)
    assert everything.holds(numbers("10.1.2.3", "2001:db8::1")).tolist() == [True, False]
