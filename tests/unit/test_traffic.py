"""The simulated traffic of `bench/run.py --only detection`: what comes goes again, by both ways to make it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# Behind ours: both have a verdicts.py.
sys.path.append(str(Path(__file__).parents[2] / "bench"))

from traffic import NEAR, PER_S, RELEASE_S, Queue, Sums

SECONDS = 300


def test_both_ways_to_make_it_agree_while_the_queue_has_room() -> None:
    rng = np.random.default_rng(5)
    sums = Sums(SECONDS)
    sums.add(rng, 0, np.full(SECONDS, 100.0), NEAR)
    sums.add(rng, 0, np.full(SECONDS, 5.0), None)
    one = sums.traffic()
    bins = np.ones(SECONDS * PER_S) / PER_S
    other = Queue(rng, SECONDS).traffic(100 * bins, 5 * bins)
    for traffic in (one, other):
        assert traffic.seconds == SECONDS
        assert ((traffic.unanswered >= 0) & (traffic.unanswered <= traffic.waiting)).all()
        assert (np.diff(traffic.finished) >= 0).all()
        assert traffic.cookies[-1] == 0
        # Handshakes of a tenth of a second; lost ones, and two in a thousand that vanish; the flood of a release time.
        assert traffic.waiting[-400:].mean() == pytest.approx(100 * 0.115 + 0.2 * RELEASE_S + 5 * RELEASE_S, rel=0.15)
        assert traffic.finished[-1] == pytest.approx(100 * SECONDS, rel=0.02)
    assert one.waiting[-400:].mean() == pytest.approx(other.waiting[-400:].mean(), rel=0.2)
    assert one.unanswered[-400:].mean() == pytest.approx(other.unanswered[-400:].mean(), rel=0.2)


def test_a_restart_drops_what_waits_and_brings_it_back() -> None:
    sums = Sums(60, ((30.0, 33.0),))
    sums.add(np.random.default_rng(5), 0, np.full(60, 100.0), NEAR)
    traffic = sums.traffic()
    assert traffic.waiting[32 * PER_S] == 0
    came = traffic.finished[34 * PER_S - 1] - traffic.finished[33 * PER_S - 1]
    assert came > 300  # those of three seconds, and of this one


def test_beyond_its_limit_the_queue_sends_cookies_and_clients_send_them_back() -> None:
    bins = np.ones(SECONDS * PER_S) / PER_S
    traffic = Queue(np.random.default_rng(5), SECONDS, cap=256).traffic(100 * bins, 400 * bins)
    assert traffic.waiting.max() == 256
    assert traffic.waiting[-400:].mean() > 200
    sent, silent = int(traffic.cookies[-1]), int(traffic.silent[-1])
    assert silent / sent == pytest.approx(0.8, rel=0.03)
    assert traffic.finished[-1] == pytest.approx(100 * SECONDS, rel=0.05)
