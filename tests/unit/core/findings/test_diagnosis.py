"""A diagnosis: how sure a finding is, and what was ruled out, follow from facts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.diagnosis import Confidence, Diagnosis, TimeBase, at_listeners, diagnosis, time_base
from halfopen.core.findings.evidence import ON_DEMAND, Evidence
from halfopen.core.findings.exclusions import EXCLUSIONS, excluded
from halfopen.core.findings.finding import Fact, Level
from halfopen.core.model.model import build
from rows import listener, request, sample
from verdicts import many, nothing_lost, peers, silent, timers

LOOK_S = 5.0


def of(
    requests: list[Any], *listeners: Any, rates: dict[str, float] | None = None, parts: Any = (), **values: Any
) -> Diagnosis:
    """The diagnosis of two looks, between which counters rose at these rates a second."""
    cookies = "SyncookiesSent", "SyncookiesRecv"
    lost = "ListenDrops", "ListenOverflows", "IPReversePathFilter", "EmbryonicRsts"
    zero = dict.fromkeys(("PassiveOpens", *cookies, *lost), 0)
    counters = {**zero, **values.pop("counters", {})}
    settings = {"tcp_abort_on_overflow": 0, **values.pop("settings", {})}
    rose = {name: round(rate * LOOK_S) for name, rate in (rates or {}).items()}
    shown = list(listeners) or [listener(limit=100_000)]
    later = {name: counters.get(name, 0) + more for name, more in rose.items()}
    time = {"monotonic_s": 100.0 + LOOK_S}
    now = sample(requests, shown, counters={**counters, **later}, settings=settings, **time, **values)
    before = replace(now, counters=counters, monotonic_s=100.0)
    now = replace(now, parts=(*now.parts, *parts)).with_part(nothing_lost(LOOK_S))
    return diagnosis(Evidence(build(now, before), build(before), LOOK_S))


def facts_against(found: Diagnosis, id: str) -> dict[str, Any]:
    """The facts that exclude a cause; empty where it is not ruled out."""
    return {fact.name: fact.value for one in found.ruled_out if id in one.ids for fact in one.facts}


def test_a_quiet_namespace_has_every_cause_ruled_out() -> None:
    found = of([])
    assert found.causes == ()
    assert found.undecided == ()
    ruled_out = {id for one in found.ruled_out for id in one.ids}
    asked = {id for id, rule in RULES.items() if ON_DEMAND.isdisjoint(rule.needs)}
    assert ruled_out == {id for id in EXCLUSIONS if max(RULES[id].levels) > Level.OK} & asked
    assert facts_against(found, "spoofed-flood") == {"half_open": 0}
    assert facts_against(found, "backlog-small") == {"ListenOverflows": 0, "ListenDrops": 0, "SyncookiesSent": 0}
    assert found.seconds == pytest.approx(LOOK_S)


def test_a_flood_is_certain_where_all_that_look_the_same_are_ruled_out() -> None:
    found = of(silent(200))
    first = found.causes[0]
    assert (first.finding.id, first.confidence, first.rivals) == ("spoofed-flood", Confidence.CERTAIN, ())
    assert found.ruled_out[0].near
    assert facts_against(found, "few-sources-flood") == {"distinct_sources": 200}
    assert facts_against(found, "synacks-lost") == {"lasting": 200, "repeated": 0}
    assert facts_against(found, "handshakes-finish")["completions_per_s"] == 0


def test_a_few_hosts_rule_out_forged_sources() -> None:
    one_host = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(60)]
    found = of(one_host, counters={"PassiveOpens": 9})
    assert found.causes[0].finding.id == "few-sources-flood"
    assert facts_against(found, "spoofed-flood") == {"distinct_sources": 1}


def test_honest_traffic_rules_out_a_flood_by_what_finishes() -> None:
    found = of(many(2000, expires_ms=50), rates={"PassiveOpens": 2200})
    assert [one.finding.id for one in found.causes] == ["handshakes-finish"]
    assert facts_against(found, "spoofed-flood")["completions_per_s"] == 2200
    # Of many young ones nothing says yet that they will last.
    assert not facts_against(of(many(2000)), "spoofed-flood")
    assert "spoofed-flood" in of(many(2000)).undecided


def test_clients_that_ask_again_are_no_flood() -> None:
    asking = many(60, retransmits=8, expires_ms=500)
    found = of(asking)
    assert found.causes[0].finding.id == "synacks-lost"
    assert facts_against(found, "spoofed-flood")["repeated"] == 60


def test_one_look_says_that_it_cannot_tell() -> None:
    found = diagnosis(Evidence(build(sample(silent(200), [listener(limit=100_000)]))))
    [cause] = found.causes
    assert (cause.finding.id, cause.confidence) == ("cannot-tell", Confidence.CANNOT_TELL)
    assert found.seconds is None
    assert {"spoofed-flood", "slow-path"} <= set(found.undecided)
    assert "diagnose --for 10s" in [action.command for cure in found.verdict.next for action in cure]  # type: ignore[union-attr]


def test_a_full_accept_queue_rules_out_a_short_backlog() -> None:
    full = listener(limit=128, accept_queue=129)
    found = of([], full, rates={"ListenOverflows": 40, "ListenDrops": 40})
    first = found.causes[0]
    assert (first.finding.id, first.confidence) == ("app-not-accepting", Confidence.CERTAIN)
    assert facts_against(found, "backlog-small")["accept_queue"] == 129
    # Its drops are no sign of a flood.
    assert facts_against(found, "spoofed-flood") == {"half_open": 0}


def test_one_stuck_socket_of_several_rules_out_the_program_as_a_whole() -> None:
    group = [listener(inode=i + 1, cookie=i + 1, limit=8, accept_queue=9 if i == 2 else 0) for i in range(4)]
    found = of([], *group, rates={"PassiveOpens": 20})
    first = found.causes[0]
    assert (first.finding.id, first.confidence) == ("member-not-accepting", Confidence.CERTAIN)
    assert facts_against(found, "app-not-accepting") == {"stuck_sockets": 1}
    assert facts_against(found, "backlog-small")["accept_queue"] == 9
    whole = of([], listener(limit=8, accept_queue=9, cookie=1))
    assert facts_against(whole, "member-not-accepting") == {"sockets": 1}


def test_what_looks_the_same_and_is_not_ruled_out_makes_it_likely() -> None:
    """Overflows, and a connection that waits now: bursts, or a program that stalls."""
    waiting = listener(limit=128, accept_queue=3, drops=9)
    other = listener(port=81, inode=2)
    found = of(
        [],
        waiting,
        other,
        counters={"ListenOverflows": 9, "ListenDrops": 9},
        rates={"PassiveOpens": 2, "ListenOverflows": 4},
    )
    first = found.causes[0]
    assert first.finding.id == "backlog-small"
    assert (first.confidence, first.rivals) == (Confidence.LIKELY, ("app-not-accepting",))


def test_who_finishes_must_be_counted_to_be_sure_of_a_few_hosts() -> None:
    """They may be a proxy, through which the others finish."""
    one_host = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(60)]
    found = of(one_host, rates={"PassiveOpens": 2}).causes[0]
    assert (found.finding.id, found.confidence) == ("few-sources-flood", Confidence.LIKELY)
    assert found.doubt == "which sources finish handshakes was not counted"


def test_a_few_hosts_may_be_clients_that_never_got_in() -> None:
    """Their last ACKs may have been lost from the beginning: then the kernel remembers none of them."""
    one_host = [
        request("20.1.1.1", retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(60)
    ]
    found = of(one_host, counters={"PassiveOpens": 9}, parts=[peers({"99.1.1.1": 5.0})]).causes[0]
    assert (found.finding.id, found.confidence) == ("few-sources-flood", Confidence.LIKELY)
    assert found.rivals == ("synacks-lost", "acks-lost")


def test_a_slow_path_is_ruled_out_by_what_finishes_alone() -> None:
    assert facts_against(of([]), "slow-path") == {"completions_per_s": 0.0}
    # Handshakes finish, and nobody counted how late.
    assert not facts_against(of([], rates={"PassiveOpens": 100}), "slow-path")


def test_a_reading_that_is_not_whole_makes_nothing_certain() -> None:
    from halfopen.core.sample import Completeness

    broken = Completeness(source="bpf", problems=("one namespace was not read",))
    found = of(silent(200), completeness=broken)
    assert found.causes[0].finding.id == "spoofed-flood"
    assert found.causes[0].confidence is Confidence.LIKELY
    # A setting is what it is.
    always = of([], settings={"tcp_syncookies": 2}, completeness=broken)
    assert always.causes[0].confidence is Confidence.CERTAIN


def test_nothing_found_is_ruled_out() -> None:
    off = {"tcp_syncookies": 0}
    full = listener(limit=200)
    for found in (of(silent(200), full, settings=off), of(silent(60)), of([], listener(accept_queue=129))):
        ids = {one.finding.id for one in found.findings}
        assert ids.isdisjoint(id for one in found.ruled_out for id in one.ids)
        assert ids.isdisjoint(found.undecided)


def test_findings_of_other_listeners_are_left_out() -> None:
    stuck, other = listener(port=80, limit=8, accept_queue=9), listener(port=81, limit=8, inode=2)
    whole = of([], stuck, other)
    assert whole.causes[0].finding.id == "app-not-accepting"
    mine = at_listeners(whole, Filter(listeners=((None, 81),)))
    assert (mine.causes, mine.verdict.level) == ((), Level.OK)
    assert [view.port for view in mine.now.listeners] == [81]
    kept = at_listeners(whole, Filter(listeners=((None, 80),)))
    assert kept.causes == whole.causes
    assert kept.verdict.next == whole.verdict.next


@pytest.mark.parametrize(
    ("fact", "base"),
    [
        (Fact("half_open", 3), TimeBase.NOW),
        (Fact("completions_per_s", 3, unit="per_s"), TimeBase.BETWEEN),
        (Fact("accepted_at_most", 0), TimeBase.BETWEEN),
        (Fact("ListenDrops", 3), TimeBase.EVER),
        (Fact("unanswered_per_s", 3, unit="per_s"), TimeBase.AGES),
    ],
)
def test_when_a_fact_is_from(fact: Fact, base: TimeBase) -> None:
    assert time_base(fact) is base


def test_exclusions_and_their_rivals_are_those_of_rules() -> None:
    assert set(EXCLUSIONS) <= set(RULES)
    assert {id for one in EXCLUSIONS.values() for id in one.rivals} <= set(RULES)
    with pytest.raises(ValueError, match="spoofed-flood"):
        excluded("spoofed-flood")(lambda e: ())


def test_every_cause_says_what_excludes_it() -> None:
    assert {rule.id for rule in RULES.values() if not rule.note and not rule.fallback} == set(EXCLUSIONS)


def test_a_scan_of_ports_that_nobody_listens_on_is_not_ruled_out() -> None:
    """Of 300 SYNs a second next to none comes to a listener: the host resets them."""
    for sent, out in ((300.0, False), (0.0, True)):
        found = of([], rates={"EmbryonicRsts": 4.0, "OutRsts": sent}, counters={"OutRsts": 0})
        assert ("scan" in [id for one in found.ruled_out for id in one.ids]) is out


def test_a_lossy_path_is_not_ruled_out_by_clients_that_ask_again_and_finish_others() -> None:
    hosts = [f"10.9.{i}.7" for i in range(12)]
    known = peers(dict.fromkeys(hosts, 1.0))
    for parts, out in (([known], False), ([], True)):
        requests = [request(h, retransmits=8, expires_ms=500, cookie=i + 1) for i, h in enumerate(hosts)]
        found = of(requests, rates={"PassiveOpens": 400}, parts=parts, **timers(12))
        assert ("slow-path" in [id for one in found.ruled_out for id in one.ids]) is out
