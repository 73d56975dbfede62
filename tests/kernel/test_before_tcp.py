"""Packets that are lost before TCP on a real host, as `status` judges it."""

from __future__ import annotations

import pytest

import halfopen
from halfopen.core.errors import Unsupported
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import judge
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.lab.scenes import scene
from halfopen.lab.scenes.stage import Stage
from halfopen.ops.looks import looks

pytestmark = pytest.mark.root


def worst(stage: Stage) -> tuple[Finding, BeforeTcp]:
    """What is named first, and the part of the reading that it rests on."""
    [seen] = looks(lambda: [halfopen.snapshot(stage.server.netns_path)])
    part = seen.now.sample.part(BeforeTcp)
    assert part is not None
    assert part.earlier is not None
    return judge(seen.now, seen.before, seen.interval_s).findings[0], part


def test_a_strict_reverse_path() -> None:
    with scene("reverse-path", 7) as stage:
        begun = stage.moved("IPReversePathFilter")
        found, _ = worst(stage)
        assert found.id == "reverse-path-filter"
        # The kernel's own count over a longer time holds what was seen in the half second between the looks.
        assert 0 < found.number("IPReversePathFilter_per_s") * 0.5 <= stage.moved("IPReversePathFilter") - begun + 1


def test_a_full_table_of_tracked_connections() -> None:
    try:
        with scene("conntrack-full", 7) as stage:
            found, part = worst(stage)
            most = int(stage.server.sysctl("net.netfilter.nf_conntrack_max"))
    except Unsupported as e:
        pytest.skip(e.line())
    assert (found.id, found.level.name) == ("conntrack-full", "CRITICAL")
    assert part.conntrack is not None
    assert part.conntrack.limit == most
    assert part.conntrack.count >= 0.9 * most
    assert found.number("conntrack_drops_per_s") > 0
