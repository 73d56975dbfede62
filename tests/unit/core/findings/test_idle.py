"""Where there is nothing to judge no rule is loaded, and none would have said anything."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Level
from halfopen.core.findings.idle import nothing_to_judge
from halfopen.core.findings.judging import judged
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.core.sample import Completeness
from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack
from halfopen.core.sample.memory import MemoryReading
from halfopen.core.tune.keys import SAMPLED
from rows import listener, sample
from verdicts import silent

NAMES = (*COUNTERS, "IPReversePathFilter", "TCPTimeouts")
# Every setting that a Sample holds, by a rule of today or of tomorrow.
VALUES = {name.rpartition(".")[2]: st.integers(0, 8) for name in SAMPLED} | {
    "tcp_syncookies": st.sampled_from((0, 1, 2)),
    "tcp_abort_on_overflow": st.sampled_from((0, 1)),
    "tcp_rto_max_ms": st.sampled_from((1000, 120_000)),
    "somaxconn": st.sampled_from((4, 4096)),
    "tcp_max_syn_backlog": st.sampled_from((8, 2048)),
}


def model(**values: Any) -> Model:
    rows = values.pop("listeners", [listener()])
    return build(sample([], rows, **values))


def test_an_idle_host() -> None:
    now = model(counters={"PassiveOpens": 900, "EmbryonicRsts": 1})
    assert nothing_to_judge(now)
    assert judge(now) == judged(Evidence(now))
    assert judge(now).level is Level.OK


@pytest.mark.parametrize(
    "now",
    [
        build(sample(silent(1), [listener()])),
        model(listeners=[listener(accept_queue=1)]),
        model(listeners=[listener(drops=1)], counters={"ListenDrops": 1, "ListenOverflows": 1}),
        model(counters={"ListenDrops": 1}),
        model(counters={"SyncookiesSent": 1}),
        model(settings={"tcp_syncookies": 0}),
        model(settings={"tcp_syncookies": 2}),
        model(settings={"tcp_synack_retries": 0}),
        model(settings={"tcp_synack_retries": 6}),
        model(settings={"tcp_abort_on_overflow": 1}),
        model(completeness=Completeness(problems=("half of it",))),
        model(completeness=Completeness(notes=("who listens",))),
        model(completeness=Completeness(source="proc")),
        build(replace(sample([], [listener()]), parts=(BeforeTcp(1.0, Conntrack(95, 100)),))),
        build(
            replace(sample([], [listener()]), parts=(MemoryReading(4096, 300, (1000, 2000, 3000), False, 0, 100, 0),))
        ),
    ],
)
def test_what_a_rule_may_speak_of_is_judged(now: Model) -> None:
    assert not nothing_to_judge(now)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)),
    st.fixed_dictionaries({}, optional=VALUES),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from((0, 4, 128))), max_size=3),
    st.none() | st.integers(0, 100),
)
def test_no_rule_speaks_where_none_is_asked(
    counters: dict[str, int], settings: dict[str, int], sockets: list[tuple[int, int, int]], tracked: int | None
) -> None:
    rows = [
        listener(port=80 + i, inode=i + 1, cookie=i + 1, accept_queue=queue, drops=drops, limit=limit)
        for i, (queue, drops, limit) in enumerate(sockets)
    ]
    read = sample([], rows, counters=counters, settings=settings)
    if tracked is not None:
        read = replace(read, parts=(*read.parts, BeforeTcp(1.0, Conntrack(tracked, 100))))
    now = build(read)
    if nothing_to_judge(now):
        # Where this fails, `core/findings/idle.py` has to know the sign of a rule.
        assert judged(Evidence(now)).findings == ()
    assert judge(now) == judged(Evidence(now))


def test_no_rule_is_loaded_for_it() -> None:
    asked = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from rows import listener, sample\n"
        "from halfopen.core.findings.verdict import judge\n"
        "from halfopen.core.model.model import build\n"
        "assert not judge(build(sample([], [listener()]))).findings\n"
        "print([name for name in sys.modules if 'findings.rules' in name or 'policy.actions' in name])"
    )
    out = subprocess.run([sys.executable, "-c", asked, *sys.path], capture_output=True, text=True, check=False)
    assert (out.stdout.strip(), out.stderr) == ("[]", "")
