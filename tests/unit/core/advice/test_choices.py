"""Release times: who would be lost with each, and what is proved of it."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.advice.choices import (
    TOLERATED,
    Rests,
    choices,
    cut_off,
    finished_by_prefix,
    lost_with,
    rests_on,
    shortest,
    timed,
)
from halfopen.core.advice.silent import speaks_first
from halfopen.core.model import timing
from halfopen.core.model.binomial import upper_bound
from halfopen.core.sample import Process
from halfopen.core.sample.arrivals import SOURCE
from shaken import handshakes

CAP_S = timing.RTO_MAX_S


def test_lost_with_r_is_who_finished_after_more_timeouts() -> None:
    seen = handshakes((1000, 0, 0.05), (20, 1, 1.1), (4, 2, 3.2), (2, 3, 7.5), (1, 5, 33.0))
    assert [lost_with(seen, r, CAP_S) for r in range(6)] == [27, 7, 3, 1, 1, 0]
    assert timed(seen) == 1027


def test_a_client_that_repeats_its_syn_is_not_lost_by_it() -> None:
    """SYN-ACKs sent again for its SYNs are no timeouts: the time it took tells."""
    assert lost_with(handshakes((5, 4, 1.2)), 1, CAP_S) == 0
    assert lost_with(handshakes((5, 4, 1.2)), 0, CAP_S) == 5


def test_a_slow_client_without_a_retransmit_is_not_lost() -> None:
    """Its SYN-ACK arrived; only its ACK took long, which no timeout saw (the first waits 1 s)."""
    assert lost_with(handshakes((5, 0, 0.98)), 0, CAP_S) == 0


def test_a_capped_timer_gives_up_sooner() -> None:
    """Linux 6.19: with waits of 1 s at most, three timeouts are 3 s, not 7."""
    seen = handshakes((100, 0, 0.1), (5, 3, 3.3))
    assert lost_with(seen, 2, 1.0) == 5
    assert lost_with(seen, 2, CAP_S) == 0
    after = [one.release_time_s for one in choices(seen, 5, None, 1.0, 0.0)]
    assert after == [1, 2, 3, 4, 5, 6]


def test_the_bound_is_shared_among_six_choices() -> None:
    found = choices(handshakes((84_000, 0, 0.05)), 5, None, CAP_S, 0.0)
    assert [int(1 / one.share) for one in found if one.share is not None] == [17_546] * 5
    assert found[5].share is None  # as now: nothing seen tells of later ones
    # One or two SYN-ACKs are proved as harmless, and never advised.
    assert shortest(found, TOLERATED) is found[2]
    assert shortest(found, 1 / 100_000) is None


def test_too_few_prove_little() -> None:
    found = choices(handshakes((120, 0, 0.05)), 5, None, CAP_S, 0.0)
    assert found[0].share is not None
    assert int(1 / found[0].share) == 25
    assert shortest(found, TOLERATED) is None


def test_nothing_is_said_of_retries_that_were_not_in_force() -> None:
    found = choices(handshakes((84_000, 0, 0.05)), 2, None, CAP_S, 0.0)
    assert [one.lost for one in found] == [0, 0, None, None, None, None]


def test_many_handshakes_of_a_few_clients_prove_what_a_few_clients_prove() -> None:
    """One monitor with 80,000 good handshakes beside forty other clients."""
    rests = rests_on([80_000, *[1] * 40, 0])
    assert rests == Rests(41, 70)
    found = choices(handshakes((80_040, 0, 0.05)), 5, rests, CAP_S, 0.0)
    assert found[0].proved == pytest.approx(upper_bound(0, 70, 0.05 / 6))
    assert shortest(found, TOLERATED) is None
    # One lost among them stays one.
    lost = choices(handshakes((80_039, 0, 0.05), (1, 1, 1.2)), 5, rests, CAP_S, 0.0)
    assert lost[0].independent_share == pytest.approx(upper_bound(1, 70, 0.05 / 6))


def test_handshakes_are_counted_by_prefix_and_port() -> None:
    rows = np.zeros(7, dtype=SOURCE)
    kinds = [
        (True, 443, 0xC6336401, 5),
        (True, 443, 0xC63364FE, 7),  # of the same /24
        (True, 443, 0xC6336501, 1),
        (True, 80, 0xC6336401, 9),
        (False, 443, 0x20010DB800000001, 2),
        (False, 443, 0xC63364, 3),  # the number of an IPv4 prefix
        (True, 443, 0xC6336601, 0),
    ]
    for row, (is_v4, port, number, finished) in zip(rows, kinds, strict=True):
        row["is_v4"], row["port"], row["number"], row["finished"] = is_v4, port, number, finished
    assert sorted(finished_by_prefix(rows, 443)) == [1, 2, 3, 12]
    assert finished_by_prefix(rows, 80) == [9]
    assert finished_by_prefix(rows, 22) == []


def test_sources_that_come_again_prove_no_more() -> None:
    assert rests_on([400, 90, 30]).exhausted
    assert not rests_on([1] * 400).exhausted


def test_what_waits_follows_from_rate_and_time() -> None:
    found = choices(handshakes((6000, 0, 0.2)), 5, None, CAP_S, 10.0)
    assert found[2].holds == pytest.approx(100 * 0.2 + 10 * 7)


def test_handshakes_by_cookie_know_no_release_time() -> None:
    seen = handshakes((100, 0, 0.05), untimed=900)
    assert timed(seen) == 100
    assert choices(seen, 5, None, CAP_S, 0.0)[0].share == pytest.approx(upper_bound(0, 100, 0.05 / 6))


def test_who_finishes_after_the_last_synack_is_not_the_last_one() -> None:
    seen = handshakes((1000, 0, 0.05), (40, 1, 1.2))
    assert 0.02 < cut_off(seen, 1) < 0.04
    assert cut_off(seen, 5) == 0.0
    assert cut_off(handshakes(), 1) == 0.0


@pytest.mark.parametrize(
    ("port", "program", "protocol"),
    [(25, "master", "SMTP"), (2222, "sshd", "SSH"), (3306, "mysqld", "MySQL"), (443, "nginx", ""), (465, "master", "")],
)
def test_a_server_that_speaks_first(port: int, program: str, protocol: str) -> None:
    assert speaks_first(port, [Process(1, program)]) == protocol
