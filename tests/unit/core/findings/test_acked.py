"""A few hosts that acknowledge SYN-ACKs and send nothing more: proven sources, which alone are offered for a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Block
from halfopen.core.sample.listeners import ListenerOptions
from halfopen.core.sample.requests import Requests
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener, request, sample
from verdicts import arrivals, peers

HOST = "198.18.0.7"
DEFER_S = 3
COMING = {"syns": 40}


def look(
    *,
    host: str = HOST,
    n: int = 60,
    age_s: float = DEFER_S + 4.0,
    acked: Any = True,
    exact: bool = True,
    counts: dict[str, int] | None = None,
    defers: bool = True,
    lately: dict[str, float] | None = None,
    overflows: int = 0,
    **queue: int,
) -> tuple[Verdict, list[Block]]:
    """The verdict on n connections of a host that acknowledged the SYN-ACK so long ago, and the blocks it offers."""
    family = 10 if ":" in host else 2
    local = "2001:db8:1::1" if family == 10 else "192.0.2.1"
    rows = [request(host, local, family=family, source_port=1024 + i, cookie=i + 1) for i in range(n)]
    options: Any = {1: ListenerOptions(defer_accept_s=DEFER_S)} if defers else {}
    at = listener("::" if family == 10 else "0.0.0.0", **{"limit": 511, **queue})
    counters = {"ListenOverflows": overflows, "PassiveOpens": 5}
    now = sample(rows, [at], options=options, counters=counters, monotonic_s=100.5)
    told: Any = {"ages_s": np.full(n, age_s, np.float32), "acked": np.full(n, acked)} if exact else {}
    part = Requests(now.part(Requests).rows, n, **told)  # type: ignore[union-attr]
    came = arrivals({host: {**COMING, **(counts or {})}})
    now = replace(now, parts=(part, came, peers(lately or {})))
    before = replace(now, counters={"ListenOverflows": 0, "PassiveOpens": 5}, monotonic_s=100.0)
    verdict = judge(build(now, before), build(before))
    return verdict, [step for cure in verdict.next for step in cure if isinstance(step, Block)]


def test_a_host_that_acknowledges_and_sends_nothing_is_offered_for_a_block() -> None:
    verdict, [block] = look()
    found = verdict.findings[0]
    assert (found.id, found.level, found.count("acked")) == ("acked-flood", Level.WARNING, 60)
    assert (list(map(str, block.sources)), block.port, block.for_s) == ([f"{HOST}/32"], 8080, 600)
    assert command(verdict.next[0]) == f"halfopen block {HOST} --port 8080 --for 10m"
    assert say(found).startswith(f"{HOST} acknowledges the SYN-ACKs of :8080 and sends nothing more")
    assert look(limit=60)[0].findings[0].level is Level.CRITICAL


def test_of_an_ipv6_host_its_network_is_named() -> None:
    _, [block] = look(host="2001:db8:7::9")
    assert list(map(str, block.sources)) == ["2001:db8:7::/64"]


@pytest.mark.parametrize(
    "honest",
    [
        {"acked": False},  # nothing proves the source
        {"exact": False},
        {"counts": {"finished": 1}},  # a proxy
        {"lately": {HOST: 1800.0}},  # a client of this hour
        {"counts": {"syns": 0}},  # a host that is gone
        {"counts": {"syns": 40, "repeats": 40}},
        {"age_s": DEFER_S + 1.0},  # its SYN-ACK was hardly sent again: a client that has not spoken yet
        {"n": 40},
        {"defers": False},  # an accept queue that was full
        {"overflows": 3},
        {"accept_queue": 512},
    ],
    ids=lambda values: "-".join(f"{name}={value}" for name, value in values.items()),
)
def test_who_may_be_a_client_is_never_offered(honest: dict[str, Any]) -> None:
    verdict, blocks = look(**honest)
    assert not blocks
    assert "acked-flood" not in [found.id for found in verdict.findings]


def test_a_flood_of_a_few_hosts_offers_it_for_those_that_are_proven() -> None:
    """Its SYNs alone prove nobody."""
    for acked, blocks in ((60, 1), (0, 0)):
        verdict, found = look(n=160, acked=np.arange(160) < acked)
        assert "few-sources-flood" in [one.id for one in verdict.findings]
        cures = next(one.cures for one in verdict.findings if one.id == "few-sources-flood")
        assert sum(isinstance(step, Block) for cure in cures for step in cure) == blocks
        assert len(found) == 2 * blocks
