"""What arrived, by listener and by source."""

from __future__ import annotations

import numpy as np
from msgspec.structs import force_setattr

from halfopen.core.model.model import build, with_parts
from halfopen.core.model.prefixes import Prefix
from rows import listener, sample
from verdicts import arrivals, number, peers

TEN = Prefix(4, number("10.0.0.0"), 16)


def test_packets_go_to_the_listener_that_the_kernel_would_take() -> None:
    part = arrivals({"10.0.0.1": {"syns": 6, "finished": 4, "late": 1}, "10.0.0.2 80": {"syns": 3, "resets": 2}})
    model = with_parts(build(sample([], [listener(port=80, inode=2), listener()])), part)
    assert model.arrived is not None
    by_port = dict(zip((view.port for view in model.views), model.arrived.by_view, strict=True))
    assert (by_port[8080].syns, by_port[8080].finished, by_port[8080].late) == (6, 4, 1)
    assert (by_port[80].syns, by_port[80].finished, by_port[80].resets) == (3, 0, 2)
    assert (model.arrived.all.syns, model.arrived.all.per_s(model.arrived.all.finished)) == (9, 8.0)


def test_a_listener_that_is_gone_counts_in_the_sum_alone() -> None:
    model = with_parts(build(sample([], [listener()])), arrivals({"10.0.0.1 81": {"syns": 6}}))
    assert model.arrived is not None
    assert (model.arrived.all.syns, model.arrived.by_view[0].syns) == (6, 0)


def test_a_source_that_asks_and_finishes_is_one_row() -> None:
    part = arrivals({"10.0.0.1": {"syns": 6}, "10.0.0.2": {"syns": 1}})
    again = arrivals({"10.0.0.1": {"finished": 5}})
    both = np.concatenate([part.sources, again.sources])
    force_setattr(part, "sources", both)
    model = with_parts(build(sample([], [listener()])), part)
    assert model.arrived is not None
    rows = model.arrived.sources
    assert rows["number"].tolist() == [number("10.0.0.1"), number("10.0.0.2")]
    assert (rows["syns"].tolist(), rows["finished"].tolist()) == ([6, 1], [5, 0])


def test_nothing_counted_is_not_nothing_arrived() -> None:
    model = with_parts(build(sample([], [listener()])), peers({"10.0.0.1": 2.0}))
    assert model.arrived is None
    assert model.completers is not None
    assert model.completers.now_within(TEN) == 0
    assert not model.completers.finished_now(np.array([number("10.0.0.1")], dtype=np.uint64)).any()


def test_what_the_kernel_remembers_of_a_prefix() -> None:
    part = peers({"10.0.0.1": 2.0, "10.0.9.1": 40.0, "10.1.0.1": 1.0, "2001:db8::1": 0.5}, rtt_s=0.3)
    completers = with_parts(build(sample([], [listener()])), part).completers
    assert completers is not None
    assert (completers.lately_within(TEN, 10.0), completers.lately_within(TEN, 100.0)) == (1, 2)
    assert completers.youngest_s(TEN) == 2.0
    assert completers.share_within(TEN, 10.0) == 1 / 3
    assert abs(completers.rtt_s(TEN) - 0.3) < 1e-6
    asked = np.array([number("10.0.9.1"), number("10.0.9.2"), number("2001:db8::9")], dtype=np.uint64)
    # An IPv6 source is its /64.
    assert completers.finished_lately(asked).tolist() == [True, False, True]


def test_finished_handshakes_of_a_prefix_by_port() -> None:
    rows = {"10.0.0.1 80": {"finished": 3, "late": 2}, "10.0.0.1 443": {"finished": 4}, "10.1.0.1 80": {"finished": 9}}
    completers = with_parts(build(sample([], [listener()])), arrivals(rows)).completers
    assert completers is not None
    assert (completers.now_within(TEN), completers.now_within(TEN, 80), completers.late_within(TEN)) == (7, 3, 2)
