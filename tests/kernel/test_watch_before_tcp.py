"""A watch knows what is lost before TCP, which no queue of a listener shows, at a bounded cost."""

from __future__ import annotations

import time

from msgspec.structs import replace

import halfopen
from halfopen.core.findings.finding import Level
from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack
from halfopen.lab import Lab
from halfopen.ops.watch.known import Known


def test_it_is_read_in_the_namespace_where_a_reading_is_judged(lab: Lab) -> None:
    model = halfopen.snapshot(lab.server.netns_path)
    known = Known(model.sample.bare())
    began = time.monotonic()
    assert known.judged(model)[1] is not None
    took_s = time.monotonic() - began
    assert known.lost is not None
    assert lab.server.device in {one.device for one in known.lost.devices}
    # A thousand times as long as it took passes before the next one, or five hundred at least.
    assert began < known.lost_again_at_s < began + took_s * 1000
    first, known.lost_again_at_s, known.judged_at_s = known.lost, 0.0, float("-inf")
    known.judged(model)
    assert known.lost.earlier == replace(first, earlier=None)


def test_a_full_table_of_connections_is_judged_however_idle_tcp_is(lab: Lab) -> None:
    model = halfopen.snapshot(lab.server.netns_path)
    known = Known(model.sample.bare(), lost_again_at_s=float("inf"))
    now = model.sample.monotonic_s
    full = BeforeTcp(now, Conntrack(1000, 1000, drops=70), earlier=BeforeTcp(now - 1, Conntrack(1000, 1000)))
    known.lost = full
    _, verdict = known.judged(model)
    assert verdict is not None
    assert [f.id for f in verdict.findings if f.level is Level.CRITICAL] == ["conntrack-full"]
    known.keep(model, verdict)
    assert known.busy
    known.lost = BeforeTcp(now, Conntrack(10, 1000), earlier=BeforeTcp(now - 1, Conntrack(10, 1000)))
    known.keep(model, verdict)
    assert not known.busy
