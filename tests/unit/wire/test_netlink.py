"""Walking netlink messages: the quick look for a kind finds what the whole walk does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import WireError
from halfopen.wire import netlink

TYPES = (netlink.NLMSG_DONE, netlink.NLMSG_ERROR)
MESSAGES = st.lists(st.builds(netlink.message, st.integers(1, 6), st.just(2), st.just(1), st.binary(max_size=40)))


@given(MESSAGES, st.integers(0, 20))
def test_it_finds_what_a_walk_does(parts: list[bytes], cut: int) -> None:
    data = memoryview(b"".join(parts)[: -cut or None])
    try:
        expected: bool | None = any(kind in TYPES for _, _, kind, _, _, _ in netlink.messages(data))
    except WireError:
        expected = None
    try:
        found: bool | None = netlink.has(data, TYPES)
    except WireError:
        found = None
    assert found == expected or (expected is None and found is True), "it may be met before what is broken"
