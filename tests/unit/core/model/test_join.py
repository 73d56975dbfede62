"""Requests to listeners, against the plainest way to say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples import examples
from halfopen.core.model import join
from halfopen.core.sample import LISTENER
from rows import listener, request

ADDRESSES = ("0.0.0.0", "192.0.2.1", "192.0.2.2", "::", "2001:db8::1")
LISTENERS = st.lists(
    st.tuples(st.sampled_from(ADDRESSES), st.sampled_from([80, 443]), st.sampled_from([0, 3])), max_size=8
)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]),
        st.sampled_from([80, 443, 8080]),
        st.sampled_from([0, 3, 4]),
        st.sampled_from([2, 10]),
    ),
    min_size=1,
    max_size=20,
)


def plainly(row: Any, found: list[join.Group]) -> int:
    best, score = join.NONE, (-1, -1)
    for i, group in enumerate(found):
        if group.port != row["local_port"] or group.family != row["family"]:
            continue
        if not group.wildcard and group.address != bytes(row["local_address"]):
            continue
        if group.ifindex and group.ifindex != row["ifindex"]:
            continue
        mine = (int(not group.wildcard), int(group.ifindex != 0))
        if mine > score:
            best, score = i, mine
    return best


@examples(300)
@given(LISTENERS, REQUESTS)
def test_the_most_specific_listener_takes_it(
    listeners: list[tuple[str, int, int]], requests: list[tuple[str, int, int, int]]
) -> None:
    rows: NDArray[Any] = np.concatenate(
        [listener(a, p, ifindex=i, inode=n) for n, (a, p, i) in enumerate(listeners, 1)]
        or [np.zeros(0, dtype=LISTENER)]
    )
    wanted = np.concatenate(
        [request(local=a, port=p, ifindex=i, family=10 if ":" in a else f) for a, p, i, f in requests]
    )
    found = join.groups(rows)
    assert join.assign(wanted, found).tolist() == [plainly(row, found) for row in wanted]


def test_members_of_a_reuseport_group_are_one() -> None:
    rows = np.concatenate([listener(inode=1), listener(inode=2), listener(port=80, inode=3)])
    assert [(g.port, len(g.rows)) for g in join.groups(rows)] == [(80, 1), (8080, 2)]


@pytest.mark.parametrize("n", [0, 1])
def test_none(n: int) -> None:
    requests = request()[:n]
    assert join.assign(requests, []).tolist() == [join.NONE] * n
