"""A document of every schema in docs/json.md that is not of `tune`, of a made-up Sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.config import WatchSettings
from halfopen.core.errors import UnknownTarget
from halfopen.core.fields.connection import LIST
from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.released import released as released_object
from halfopen.core.filters import Filter
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.verdict import judge
from halfopen.core.model.closing_glance import ClosingGlance
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import (
    ChangeListener,
    FoundValue,
    GuardWithheld,
    Protect,
    Protected,
    Release,
    Released,
    Undo,
    Withheld,
    Withholding,
)
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising
from halfopen.core.policy.counts import CONNECTIONS
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.release_policy import ReleasePolicy
from halfopen.core.policy.silence import Silence
from halfopen.core.reports import Reloaded
from halfopen.core.sample import LISTENER, REQUEST, ListenerOptions, Process, Requests, Sample
from halfopen.core.sample.guard import GuardCounts
from halfopen.core.sparing import Sparing
from halfopen.core.tune.keys import SAMPLED
from halfopen.core.tune.ledger import Ledger
from halfopen.core.tune.outcomes import Applied, Tuned, Undid, Undone
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.records import Began
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.where import Host, Namespace
from halfopen.linux.netns import current
from rows import part

SCHEMAS = [
    f"halfopen.{name}/1"
    for name in (
        "status",
        "list",
        "release",
        "watch",
        "history",
        "incident",
        "release-time",
        "advise",
        "diagnose",
        "handshakes",
        "doctor",
        "audit",
    )
]

OUTCOME = Released(Release(Namespace("boot", 1), Filter(older_than_s=3.0), "test"), matched=1, released=1)
POLICY = ReleasePolicy("flood", Filter(older_than_s=3.0))
WITHHELD = Withheld(Release(Namespace("boot", 1), Filter(), "", policy="flood"), None, Withholding.OBSERVES, 7)
GUARD = Protect(Namespace("boot", 1), ((None, 443),), "test", policy="protect")


def sample() -> Sample:
    """60 half-open connections to one listener."""
    requests = np.zeros(60, dtype=REQUEST)
    requests["family"] = 2
    requests["state"] = 3
    requests["local_port"] = 443
    requests["remote_port"] = np.arange(60) + 1024
    requests["remote_v4"] = 0xC6336401
    requests["retransmits"] = 3
    requests["expires_ms"] = 4000
    requests["cookie"] = np.arange(60) + 1
    listeners = np.zeros(1, dtype=LISTENER)
    listeners["family"], listeners["port"], listeners["inode"], listeners["accept_queue_limit"] = 2, 443, 7, 128
    return Sample(
        where=Namespace("boot", 1),
        host=Host("host", "6.1"),
        parts=(Requests(requests, len(requests)),),
        listeners=listeners,
        monotonic_s=100.0,
        wall_s=1_700_000_000.0,
        owners={7: (Process(1, "web", "web.service", "0123456789ab"),)},
        options={7: ListenerOptions(2, 0)},
        counters=dict.fromkeys(COUNTERS, 1),
        settings={**{key.rpartition(".")[2]: 5 for key in SAMPLED}, "tcp_rto_max_ms": 120_000},
    )


def model() -> Model:
    """The Model of that, with rates."""
    now = sample()
    return build(now, replace(now, monotonic_s=99.0))


def status() -> list[Any]:
    from halfopen.present import statusjson

    m = model()
    seen = ClosingSeen(ClosingGlance(60, 60, 28232), None, judge(m))
    return [statusjson.status([m], [judge(m)], [], [seen])]


def connections() -> list[Any]:
    from halfopen.present import rows

    # The head is made in cli/list.py; its names are read from there by running it on nothing but this Sample.
    m = model()
    parts = [part(m, 3)]
    document = json.loads("\n".join(rows.json_lines(list_head(m), parts)))
    head, *lines = "\n".join(rows.csv_lines(parts)).splitlines()
    assert head.split(",") == [f.name for f in LIST]
    assert len(lines) == 3
    assert [json.loads(line) for line in rows.ndjson_lines(parts)] == document["connections"]
    return [document]


def list_head(m: Model) -> dict[str, Any]:
    """What `halfopen list --json` puts before the rows, from the command itself."""
    from click.testing import CliRunner

    from halfopen import api
    from halfopen.cli import list as command
    from halfopen.core.model.listing import Listed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "listed", lambda *_, **__: ([Listed("self", m.sample.wall_s, (), part(m).collected)], []))
        done = CliRunner().invoke(command.command, ["--json", "--limit", "1"])
    document: dict[str, Any] = json.loads(done.output)
    document.pop("connections")
    return document


def release() -> list[Any]:
    from halfopen.present import jsonout

    return [jsonout.release([OUTCOME])]


def watch() -> list[Any]:
    from halfopen.present.watchjson import JsonLines

    writer, m, at = JsonLines(), model(), (2, "0.0.0.0", 8080, 0)
    lines = [
        *writer.begin(1.0, Policy()),
        *writer.reading(m),
        *writer.rising(m, Rising(m.sample.where, at, 60)),
        *writer.taken_up(m, Incident("x", m.sample.where, at, 1e9)),
        *writer.passed(m, Passed(m.sample.where, at, 0, 3.0)),
        *writer.alarm(m, Alarm(m.sample.where, at, 60, 58, 700, 1.0, 50.0, "unanswered", "spoofed-flood"), judge(m)),
        *writer.cause(m, CauseChanged(m.sample.where, at, 60, "spoofed-flood", "cannot-tell"), judge(m)),
        *writer.clear(m, Clear(m.sample.where, at, 0, 3.0, 60, "spoofed-flood")),
        *writer.clear(m, Clear(m.sample.where, CONNECTIONS, 0, 3.0, 60, "close-wait-leak")),
        *writer.released(OUTCOME),
        *writer.withheld(m, WITHHELD),
        *writer.guarded(Protected(GUARD, (":443",), GuardCounts(), "stopped")),
        *writer.guard_withheld(GuardWithheld(GUARD, Withholding.OBSERVES)),
        *writer.reloaded(Reloaded(1.0, Policy(releases=(POLICY,)), WatchSettings(), ("netns",))),
        *writer.trouble("self", UnknownTarget("gone")),
        *writer.end(1),
    ]
    return [json.loads(line) for line in lines]


def kept() -> list[Any]:
    """The two documents of history."""
    from halfopen.core.findings.finding import Fact
    from halfopen.core.history import HistoryAnswer, KeptSeries, ReleaseSeen, SettingChanged, Slot, WatchedSpan
    from halfopen.core.policy.incidents import CauseFound, ReleasesMade
    from halfopen.present import history

    here, at = Namespace("boot", 1), (2, "0.0.0.0", 8080, 0)
    causes = (CauseFound(1e9, "spoofed-flood", "critical", (Fact("half_open", 3, 5.0), Fact("prefix", "10.0.0.0/8"))),)
    made = ReleasesMade("all", "why", 1, 1e9, 1e9)
    one = Incident("x", here, at, 1e9, causes=causes, releases=(made,), silences=(Silence("x", 1e9, "us"),))
    seen = ReleaseSeen(here, 1e9, "all", "why", released_object(OUTCOME), ("x",))
    slot = Slot(10**9, 1, 0, 1, 1, 1, 1)
    answer = HistoryAnswer(
        1e9,
        1e9 + 60,
        1e9 + 60,
        1,
        (one,),
        (),
        (KeptSeries(here, at, "half_open", (slot,)), KeptSeries(here, None, "drops", (slot,))),
        (WatchedSpan(here, 1e9, 1e9 + 60),),
        (SettingChanged(here, 1e9, "tcp_synack_retries", 5, None),),
        (seen,),
    )
    return [history.document(answer), history.incident_document(one, [seen])]


def release_time() -> list[Any]:
    from halfopen.present import releasetime

    return [releasetime.document(model(), [0, 1], 120.0, {1: 3.04})]


def handshakes() -> list[Any]:
    from halfopen.core.model.handshakes import Observed, by_listener
    from halfopen.core.sample.handshakes import HandshakeCounters
    from halfopen.present.handshakes import document
    from halfopen.wire.bpf_records import HANDSHAKE_COUNTERS, HANDSHAKE_KEY

    keys, counters = np.zeros(1, dtype=HANDSHAKE_KEY), np.zeros(1, dtype=HANDSHAKE_COUNTERS)
    keys["netns"], keys["port"], keys["family"], keys["ipv4"] = 1, 8080, 2, 1
    counters["times"][0, 20] = counters["by_retransmits"][0, 0] = 3
    listener = np.zeros(1, dtype=LISTENER)
    listener["port"], listener["family"], listener["inode"] = 8080, 2, 7
    one = by_listener(
        HandshakeCounters(1.0, 1.0, keys, counters), Namespace("boot", 1), listener, {7: (Process(1, "web"),)}
    )
    return [document(Observed(1e9, Host("host", "6.0"), 1.0, False, (), 0, (one,), ()))]


def advise() -> list[Any]:
    from halfopen.core.advice.advice import AdviceGiven, ListenerWatched
    from halfopen.core.advice.advice import advise as advise_on
    from halfopen.core.advice.depths import Depth
    from halfopen.present.advice import document
    from shaken import handshakes

    [view] = model().views
    one = advise_on(ListenerWatched(view, handshakes((120, 0, 0.05)), [Depth(0.0, 1, 1, 0)]), "self", {})
    return [document(AdviceGiven(Namespace("boot", 1), Host("host", "6.1"), 1e9, 60.0, (one,), {}))]


def diagnose() -> list[Any]:
    from halfopen.core.findings.diagnosis import diagnosis
    from halfopen.core.findings.evidence import Evidence
    from halfopen.present.diagnosis import document

    # A full accept queue: a finding that concerns a listener.
    rows = sample().listeners.copy()
    rows["accept_queue"] = 129
    full = replace(sample(), listeners=rows)
    now = build(full, replace(full, monotonic_s=95.0))
    return [document([diagnosis(Evidence(now, now, 5.0))], [])]


def doctor() -> list[Any]:
    from halfopen.core.features import Checkup, Feature, Grant, Outcome
    from halfopen.present.doctor import document

    grants = (Grant("capability", "CAP_BPF"),)
    feature = Feature("bpf:pulse", "queues", Outcome.NO, "refused", ("CAP_BPF",), grants)
    return [document(Checkup(Host("host", "6.1"), 0, False, (feature,)))]


def audit(directory: Path) -> list[Any]:
    from halfopen.ops.executor import Executor
    from halfopen.ops.release import release as releasing

    path = directory / "audit.jsonl"
    action = OUTCOME.action

    def fails(*_: Any, **__: Any) -> Released:
        raise UnknownTarget("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUDO_USER", "somebody")
        patch.setattr(releasing, "execute", lambda *_, **__: OUTCOME)
        by_policy = replace(
            action,
            policy="flood",
            decided_by=(("cause", "spoofed-flood"), ("fill", 0.5), ("unanswered", 7)),
            most=5,
            sparing=Sparing(clients_s=9),
        )
        Executor(str(path)).note_silence(Silence("x", 1e9, "us"))
        for one in (action, by_policy):
            Executor(str(path)).execute(one, current())
        Executor(str(path)).note(WITHHELD)
        patch.setattr(releasing, "execute", fails)
        with pytest.raises(UnknownTarget):
            Executor(str(path)).execute(action, current())
    plan, applied, undone = tuned()
    executor = Executor(str(path))
    executor._recorded(plan.as_record(), lambda: Tuned(plan, (applied,)))
    executor._recorded({"action": "undo", "reason": ""}, lambda: Undid(Undo(None), (undone,)))
    return [json.loads(line) for line in path.read_text().splitlines()]


def tuned() -> tuple[Plan, Applied, Undone]:
    """A plan with a change of a listener, its outcome, and that of its undo."""
    listener = ListeningSocket(2, "192.0.2.1", 8080, 77, 99)
    spot = Spot(Place("boot", 7, 1, "/run/netns/web", "web"), "listener.backlog", listener)
    change = ChangeListener("web", "192.0.2.1", 8080, spot.key, 512, "more room", found=FoundValue(spot, 128))
    ledger = Ledger()
    ledger.add(Began(1, 0.0, {}, spot.place, spot.key, 128, 512, listener=listener))
    applied = Applied(spot, 128, 512, 512, "done", "more room", id=1)
    return Plan(spot.place, (change,)), applied, Undone(ledger.changes[1], "undone", 128, True)


def every(directory: Path) -> dict[str, list[Any]]:
    """Schema → documents of it. directory: an empty one, for the audit log."""
    made = [
        status(),
        connections(),
        release(),
        watch(),
        *([document] for document in kept()),
        release_time(),
        advise(),
        diagnose(),
        handshakes(),
        doctor(),
        audit(directory),
    ]
    return {documents[0]["schema"]: documents for documents in made}
