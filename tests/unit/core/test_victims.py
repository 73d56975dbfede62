"""Who is meant by a release: nobody who may have answered, nobody whom the filter does not let through, all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.filters import Filter
from halfopen.core.model import timing
from halfopen.core.model.columns import Builder
from halfopen.core.units import endpoint, prefix
from halfopen.core.victims import by_timers, certain, select
from rows import request

ONE = st.tuples(
    st.integers(0, 7),  # retransmits
    st.integers(0, 130_000),  # expires_ms
    st.sampled_from((80, 443)),
    st.sampled_from(("198.18.0.1", "198.51.100.7")),
    st.floats(0, 200, width=32),  # age
    st.booleans(),  # may have answered
)
FILTERS = st.builds(
    Filter,
    st.none() | st.floats(0, 200, width=32),
    st.none() | st.integers(0, 7),
    st.sampled_from(((), (endpoint(":443"),))),
    st.sampled_from(((), (prefix("198.51.100.0/24"),))),
)


def rows_of(those: list[Any]) -> Any:
    made = [request(source, port=port, retransmits=n, expires_ms=ms) for n, ms, port, source, _, _ in those]
    return np.concatenate(made)


def lets_through(chosen: Filter, one: Any) -> bool:
    retransmits, _, port, source, age, _ = one
    return (
        (chosen.older_than_s is None or age >= chosen.older_than_s)
        and (chosen.retransmits is None or retransmits >= chosen.retransmits)
        and (not chosen.listeners or port == 443)
        and (not chosen.sources or source == "198.51.100.7")
    )


@given(st.lists(ONE, min_size=1, max_size=30), FILTERS)
def test_all_that_match_and_have_certainly_not_answered_and_nobody_else(those: list[Any], chosen: Filter) -> None:
    ages, may = np.array([one[4] for one in those], dtype=np.float32), np.array([one[5] for one in those])
    found = select(rows_of(those), chosen, ages, may)
    matching = [lets_through(chosen, one) for one in those]
    assert found.mask.tolist() == [m and not one[5] for m, one in zip(matching, those, strict=True)]
    assert found.count + found.spared == sum(matching)
    assert not (found.mask & may).any()


@given(st.lists(ONE, min_size=1, max_size=30), FILTERS)
def test_more_doubt_never_means_more_victims(those: list[Any], chosen: Filter) -> None:
    ages, may = np.array([one[4] for one in those], dtype=np.float32), np.array([one[5] for one in those])
    sure = select(rows_of(those), chosen, ages, np.zeros(len(those), dtype=bool))
    doubted = certain(sure.mask, may)
    assert not (doubted.mask & ~sure.mask).any()
    assert (doubted.mask == select(rows_of(those), chosen, ages, may).mask).all()


def test_a_timer_that_ran_out_in_silence_is_a_deferred_request() -> None:
    # The wait after two timeouts is 4 s; without a SYN-ACK sent again that is a deferred-accept request.
    rows = np.concatenate([request(retransmits=0, expires_ms=3500), request(retransmits=2, expires_ms=3500)])
    ages, deferred = by_timers(rows, timing.RTO_MAX_S)
    assert deferred.tolist() == [True, False]
    assert select(rows, Filter(), ages, deferred).mask.tolist() == [False, True]
    asked = np.array([0, 2], dtype=np.uint8)
    assert by_timers(rows, timing.RTO_MAX_S, asked)[1].tolist() == [True, False]


@given(st.lists(ONE, min_size=1, max_size=30))
def test_what_is_shown_as_deferred_is_what_is_spared(those: list[Any]) -> None:
    rows = rows_of(those)
    builder = Builder()
    builder.add(rows)
    columns = builder.take()
    ages, deferred = by_timers(rows, timing.RTO_MAX_S)
    assert (columns.is_deferred == deferred).all()
    assert (columns.ages_s == ages).all()
