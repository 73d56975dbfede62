"""What a person's words come to on a listener, and what is in the way."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.model import timing
from halfopen.core.policy.actions import ChangeListener
from halfopen.core.tune import listener
from halfopen.core.tune.keys import BACKLOG, DEFER, RETRIES
from halfopen.core.tune.listener import Running, Wishes
from halfopen.core.tune.spots import ListeningSocket, Place

SOCKET = ListeningSocket(2, "192.0.2.1", 8080, 7, 9)
PLACE = Place("boot", 7, 1, "/proc/self/ns/net", "self")
RUNNING = Running(SOCKET, 128, 0, None, 0)


@pytest.mark.parametrize(
    ("address", "port", "meant"),
    [
        (None, 8080, True),
        ("0.0.0.0", 8080, True),
        ("::", 8080, True),
        ("192.0.2.1", 8080, True),
        ("192.0.2.2", 8080, False),
        (None, 8081, False),
    ],
)
def test_which_listener_is_meant(address: str | None, port: int, meant: bool) -> None:
    found = listener.meant_by([SOCKET], ipaddress.ip_address(address) if address else None, port)
    assert found == ([SOCKET] if meant else [])


def test_of_two_wildcard_listeners_the_one_that_is_named_is_meant() -> None:
    v4, v6, own = (ListeningSocket(i, address, 443, i, i) for i, address in enumerate(("0.0.0.0", "::", "192.0.2.1")))
    for address, meant in ((None, [v4, v6, own]), ("0.0.0.0", [v4]), ("::", [v6]), ("192.0.2.1", [own])):
        found = listener.meant_by([v4, v6, own], ipaddress.ip_address(address) if address else None, 443)
        assert found == meant


def test_the_longest_release_time_not_above() -> None:
    assert [listener.retries_within(s) for s in (3, 6.9, 7, 63, 1e9)] == [1, 1, 2, 5, 127]
    for too_short in (0.0, 1.0, 2.9):
        with pytest.raises(UsageError, match="at least 1"):
            listener.retries_within(too_short)


@given(st.integers(0, 100_000))
def test_deferring_is_rounded_up_and_comes_back_as_it_is(seconds: int) -> None:
    made = listener.defers_s(seconds)
    assert made >= seconds or made == timing.started_s(255)
    assert listener.defers_s(made) == made
    assert (made == 0) == (seconds == 0)


def seen(c: ChangeListener) -> tuple[str, int, int | None, int]:
    """The option, the socket's inode, what was found and what is to be."""
    assert c.found is not None
    assert c.found.spot.listener is not None
    return c.key, c.found.spot.listener.inode, c.found.value, c.value


def test_a_plan_is_every_option_of_every_socket() -> None:
    other = Running(ListeningSocket(2, "192.0.2.1", 8080, 8, 10), 64, 0, 3, 7)
    planned = listener.changes_for([RUNNING, other], Wishes(512, 2, 5), 4096, 5, PLACE)
    assert [seen(p) for p in planned] == [
        (BACKLOG, 7, 128, 512),
        (BACKLOG, 8, 64, 512),
        (RETRIES, 7, None, 2),
        (RETRIES, 8, 3, 2),
        (DEFER, 7, 0, 7),
        (DEFER, 8, 7, 7),
    ]
    assert [p.reason for p in planned][2:4] == [
        "released after 7 s instead of 63 s",
        "released after 7 s instead of 15 s",
    ]
    assert planned[4].why == "the kernel rounds 5 s up to 7 s"


def test_somaxconn_in_the_way() -> None:
    [p] = listener.changes_for([RUNNING], Wishes(backlog=512), 256, 5, PLACE)
    assert (p.asked, p.value, p.why) == (512, 256, "somaxconn = 256 does not allow 512")
    [p] = listener.changes_for([RUNNING], Wishes(backlog=512), None, 5, PLACE)
    assert (p.asked, p.value) == (None, 512)
    for wanted in (64, 512):
        with pytest.raises(HalfopenError, match="somaxconn = 100 would not allow again") as caught:
            listener.changes_for([RUNNING], Wishes(backlog=wanted), 100, 5, PLACE)
        assert caught.value.hint.endswith(f"--set somaxconn={max(wanted, 128)}")
    [p] = listener.changes_for([RUNNING], Wishes(backlog=128), 100, 5, PLACE)
    assert (seen(p), p.why) == ((BACKLOG, 7, 128, 128), "")


def test_multipath_tcp_takes_no_retries() -> None:
    one = Running(SOCKET, 128, 0, None, 0, mptcp=True)
    with pytest.raises(UsageError, match="Multipath TCP"):
        listener.changes_for([one], Wishes(retries=2), 4096, 5, PLACE)
    assert listener.recommended(one, 5) == Wishes(backlog=4096)


def test_what_helps() -> None:
    assert listener.recommended(RUNNING, 5) == Wishes(4096, 2)
    assert listener.recommended(Running(SOCKET, 4096, 0, None, 0), 2) == Wishes()
    assert listener.recommended(Running(SOCKET, 4096, 0, 7, 0), 2) == Wishes(retries=2)
