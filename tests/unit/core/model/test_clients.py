"""Who is spared by a release policy: sources that are connected, that finished a handshake, or did so lately."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.model.clients import KnownClients, source_numbers
from halfopen.core.sample.peers import PEER, Peers
from rows import request

CONNECTED, FINISHED, LATELY, FORGED = "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"
REQUESTS = np.concatenate([request(source) for source in (CONNECTED, FINISHED, LATELY, FORGED)])


def known(*, age_s: float) -> KnownClients:
    numbers = source_numbers(REQUESTS)
    rows = np.zeros(1, dtype=PEER)
    rows["number"], rows["age_s"] = numbers[2], age_s
    return KnownClients(100.0, numbers[:1], Peers(rows)).with_finished(numbers[1:2])


@pytest.mark.parametrize(("age_s", "lately"), [(10.0, True), (3600.0, True), (3601.0, False)])
def test_clients_of_the_last_hour_are_held(age_s: float, lately: bool) -> None:
    assert known(age_s=age_s).hold(REQUESTS, 3600.0).tolist() == [True, True, lately, False]


def test_ipv6_sources_are_compared_by_their_first_64_bits() -> None:
    here = np.concatenate([request("2001:db8:0:1::7", "2001:db8::1", family=10)])
    others = np.concatenate(
        [request(source, "2001:db8::1", family=10) for source in ("2001:db8:0:1::8", "2001:db8:0:2::7")]
    )
    clients = KnownClients(100.0, source_numbers(here), Peers(np.zeros(0, dtype=PEER)))
    assert clients.hold(others, 3600.0).tolist() == [True, False]
