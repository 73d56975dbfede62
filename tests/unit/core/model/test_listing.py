"""What is collected while it is read is what sorting everything at the end would give."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples import examples
from halfopen.core.fields.connection import LIST
from halfopen.core.filters import Filter
from halfopen.core.model import listing
from halfopen.core.model.listing import SORTS, Collected, Listing
from halfopen.core.sample import REQUEST
from halfopen.core.units import address_text
from halfopen.present import rows
from rows import request

# Few of each, so that many are equal; 2^31 and 255 have the highest bit set.
V4 = st.sampled_from(["198.18.0.1", "198.18.0.2", "0.0.0.1", "203.0.113.255"])
V6 = st.sampled_from(["2001:db8::1", "2001:db8::2", "::1", "::ffff:198.18.0.1", "fe80::1:0:0:1"])
# Family, source and local address: of an IPv4 listener, of an IPv6 one's IPv4 client, of an IPv6 one.
ENDS = st.one_of(
    st.tuples(st.just(2), V4, V4), st.tuples(st.just(10), V4, V4), st.tuples(st.just(10), V6 | V4, V6 | V4)
)
REQUESTS = st.builds(
    lambda ends, port, source_port, retransmits, expires_ms: request(
        ends[1],
        ends[2],
        port,
        family=ends[0],
        source_port=source_port,
        retransmits=retransmits,
        expires_ms=expires_ms,
    ),
    ENDS,
    st.sampled_from([80, 443, 65535]),
    st.sampled_from([1, 1024, 65535]),
    st.sampled_from([0, 1, 5, 255]),
    st.sampled_from([0, 500, 1000, 2**31]),
)
AGES = st.sampled_from([0.0, 0.064, 3.5, 3.500064, 120.0])
STRETCHES = st.lists(st.lists(st.tuples(REQUESTS, AGES, st.booleans(), st.booleans()), max_size=8), max_size=8)
FILTERS = st.sampled_from([Filter(), Filter(retransmits=1), Filter(older_than_s=3.5)])


def columns(those: list[tuple[NDArray[Any], float, bool, bool]]) -> tuple[NDArray[Any], ...]:
    requests, ages, *marks = zip(*those, strict=True) if those else [()] * 4
    rows = np.concatenate([np.zeros(0, dtype=REQUEST), *requests], dtype=REQUEST)
    return rows, np.array(ages, dtype=np.float32), *(np.array(marked, dtype=bool) for marked in marks)


def sorted_at_once(by: str, requests: NDArray[Any], ages: NDArray[Any]) -> NDArray[np.intp]:
    if by == "age":
        return np.argsort(-ages, kind="stable")
    if by == "retransmits":
        return np.argsort(-requests["retransmits"].astype(int), kind="stable")
    if by == "expires":
        return np.argsort(requests["expires_ms"], kind="stable")
    side = "remote" if by == "source" else "local"
    return np.lexsort((requests[f"{side}_port"], requests[f"{side}_low"], requests[f"{side}_high"], requests["family"]))


def shown(request: Any, age: float, *marks: bool) -> dict[str, Any]:
    local, remote = (address_text(int(request["family"]), bytes(request[f"{s}_address"])) for s in ("local", "remote"))
    return {
        "netns": "self",
        "family": f"ipv{ipaddress.ip_address(remote).version}",
        "local_address": local,
        "local_port": int(request["local_port"]),
        "remote_address": remote,
        "remote_port": int(request["remote_port"]),
        "age_s": round(float(age), 3),
        "retransmits": int(request["retransmits"]),
        "expires_s": int(request["expires_ms"]) / 1000,
        "deferred": bool(marks[0]),
        "may_have_answered": bool(marks[1]),
    }


def listed(parts: list[rows.Part], names: Collection[str]) -> list[dict[str, Any]]:
    """The rows by name, of these names."""
    found = [dict(zip([field.name for field in LIST], row, strict=True)) for row in rows.rows(parts)]
    return [{name: row[name] for name in names} for row in found]


@examples(150, derandomize=False)
@given(
    STRETCHES,
    st.sampled_from(SORTS),
    st.one_of(st.none(), st.integers(0, 12)),
    st.booleans(),
    FILTERS,
    st.integers(1, 9),
)
def test_as_if_sorted_at_the_end(
    stretches: list[list[Any]], by: str, limit: int | None, with_deferred: bool, chosen: Filter, chunk: int
) -> None:
    requests, ages, is_deferred, is_doubtful = columns([one for stretch in stretches for one in stretch])
    at = sorted_at_once(by, requests, ages)
    keep = chosen.mask(requests, ages) & (with_deferred | ~is_deferred)
    expected = [shown(requests[i], ages[i], is_deferred[i], is_doubtful[i]) for i in at if keep[i]]
    with patch.object(listing, "_CHUNK", chunk), patch.object(rows, "_CHUNK", chunk + 1):
        collected = Collected(Listing(chosen, with_deferred, by, limit))
        for stretch in stretches:
            collected.add(*columns(stretch))
        parts = rows.parts([("self", collected)], limit)
        assert (
            listed(parts, [field.name for field in LIST if expected and field.name in expected[0]]) == expected[:limit]
        )
        assert parts[0].count == len(collected) == len(expected[:limit])
        counted = (
            len(expected),
            sum(row["deferred"] for row in expected),
            sum(row["may_have_answered"] for row in expected),
        )
        assert (collected.total, collected.deferred, collected.doubtful) == counted
        assert collected.any_ipv6 or not any(row["family"] == "ipv6" for row in expected[:limit])


@pytest.mark.parametrize("by", SORTS)
def test_with_a_limit_no_more_is_kept_than_a_few_times_that(by: str) -> None:
    collected = Collected(Listing(sort=by, limit=10))
    random = np.random.default_rng(1)
    most = 0
    for _ in range(50):
        stretch = np.zeros(4096, dtype=REQUEST)
        stretch["family"] = 10
        stretch["remote_high"], stretch["remote_low"] = random.integers(1, 2**63, (2, 4096))
        collected.add(stretch, random.random(4096, dtype=np.float32), np.zeros(4096, dtype=bool))
        most = max(most, collected._records.count, collected._wide.count)
    assert collected.total == 50 * 4096
    assert most <= 2 * 10 + listing._CHUNK + 4096


def test_a_limit_goes_to_the_first_namespaces_first() -> None:
    one, other = (Collected(Listing(limit=3)) for _ in range(2))
    for collected, count in ((one, 2), (other, 5)):
        collected.add(np.concatenate([request()] * count), np.zeros(count, dtype=np.float32), np.zeros(count, bool))
    assert [part.count for part in rows.parts([("a", one), ("b", other)], 3)] == [2, 1]
    assert [part.count for part in rows.parts([("b", other), ("a", one)], 3)] == [3, 0]
    of = listed(rows.parts([("a", one), ("b", other)], 3), ["netns"])
    assert [row["netns"] for row in of] == ["a", "a", "b"]
