"""Release policies: every condition must hold, what forbids a release is said once, and a budget is kept."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from examples import examples
from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.registry import OnRelease
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Release, Released, Withheld, Withholding
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.events import Seen
from halfopen.core.policy.policy import Action, LookAgain, Missing, Policy, ReadMore, State, step
from halfopen.core.policy.release_policy import BudgetLeft, ReleasePolicy, by_filter
from halfopen.core.sparing import Sparing
from halfopen.core.units import endpoint, prefix
from halfopen.core.where import Namespace
from rows import listener, sample

SELF = Namespace("boot", 1, 1, "self")
WEB: Subject = (2, "0.0.0.0", 8080, 0)
DNS: Subject = (2, "192.0.2.1", 53, 0)
AGE = Filter(older_than_s=2)
FLOOD = ReleasePolicy("flood", AGE, causes=frozenset({"spoofed-flood", "few-sources-flood"}))
PLAIN = ReleasePolicy("plain", AGE)


def counts(unanswered: int = 700, **more: float | None) -> ListenerCounts:
    return ListenerCounts(unanswered, unanswered, 1000, fill=more.get("fill", unanswered / 1000))


def verdict(*findings: Finding) -> Verdict:
    return Verdict(max((f.level for f in findings), default=Level.OK), findings, ())


def flood(cause: str = "spoofed-flood", *, sources: str = "", offers: bool = True) -> Finding:
    networks = tuple(prefix(text) for text in sources.split())
    cures = tuple((Release(SELF, Filter(3.0, sources=(network,)), cause),) for network in networks)
    if offers and not networks:
        cures = ((Release(SELF, Filter(3.0), cause),),)
    return Finding(cause, Level.WARNING, (Fact("lasting_since_s", 3.0),), None, (), cures if offers else ())


class World:
    """A watch without a kernel: every release finds `matching`."""

    def __init__(self, *policies: ReleasePolicy, matching: int | str = 500) -> None:
        self.policy, self.matching, self.state, self.at_s = Policy(releases=policies), matching, State(), 0.0

    def read(
        self, v: Verdict | None = None, at: dict[Subject, ListenerCounts] | None = None, degraded: str = ""
    ) -> list[Action]:
        """A reading, one second after the last, and what comes of it; each release works."""
        at = {WEB: counts()} if at is None else at
        waiting = sum(one.waiting for one in at.values())
        event = Seen(SELF, self.at_s, waiting, counts=at, verdict=v, degraded=degraded)
        self.at_s += 1.0
        while True:
            state, actions = step(self.state, event, self.policy)
            more = [a for a in actions if isinstance(a, ReadMore)]
            if not more:
                break
            assert more[0].missing is Missing.MATCHING
            assert state == self.state
            event = replace(event, matching=dict.fromkeys(more[0].releases, self.matching))
        self.state = state
        for release in [a for a in actions if isinstance(a, Release)]:
            assert isinstance(self.matching, int)
            done = min(self.matching, self.matching if release.most is None else release.most)
            self.state, _ = step(self.state, Released(release, done, done), self.policy)
        return list(actions)

    def alarmed(self, v: Verdict | None, **more: object) -> list[Action]:
        """The same with an alarm on."""
        for _ in range(4):
            found = self.read(v)
        return found


def releases(actions: list[Action]) -> list[Release]:
    return [a for a in actions if isinstance(a, Release)]


def withheld(actions: list[Action]) -> list[tuple[Withholding, str]]:
    return [(a.why, a.detail) for a in actions if isinstance(a, Withheld)]


def test_a_cause_has_to_be_confirmed_and_stays_so_when_nothing_lasts_any_more() -> None:
    world = World(FLOOD)
    undecided = verdict(Finding("cannot-tell", Level.WARNING))
    for _ in range(4):
        actions = world.read(undecided)
        assert releases(actions) == []
    assert any(isinstance(a, LookAgain) for a in actions), "a policy that waits for the cause looks more often"
    [release] = releases(world.read(verdict(flood())))
    assert (release.policy, release.filter.listeners) == ("flood", ((None, 8080),))
    assert dict(release.decided_by) == {"cause": "spoofed-flood", "unanswered": 700}
    assert "policy flood: spoofed-flood, 500 older than 2 s at :8080" in release.reason
    assert release.incidents
    [again] = releases(world.read(undecided))
    assert again.decided_by == release.decided_by


@pytest.mark.parametrize("id", sorted(id for id, rule in RULES.items() if rule.on_release is OnRelease.FORBIDS))
def test_a_cause_that_forbids_a_release_holds_for_every_policy_and_is_said_once(id: str) -> None:
    world, found = World(FLOOD, PLAIN), verdict(flood(), Finding(id, Level.WARNING))
    seen = [entry for _ in range(6) for entry in withheld(world.read(found))]
    assert seen == [(Withholding.FORBIDDEN, id)] * 2  # once for each policy
    assert releases(world.read(found)) == []
    assert releases(world.read(verdict(flood())))
    by_age = World(by_filter(AGE))
    seen = [entry for _ in range(3) for entry in withheld(by_age.read(found))]
    assert seen == [(Withholding.FORBIDDEN, id)]
    assert releases(by_age.read(found)) == []
    [release] = releases(by_age.read(verdict(flood())))
    assert release.filter == AGE


def test_a_cause_at_another_listener_forbids_nothing_here() -> None:
    world = World(PLAIN)
    both = {WEB: counts(), DNS: counts()}
    assert [r.filter.listeners for r in releases(world.read(None, both))] == [
        ((None, 8080),),
        ((ipaddress.ip_address("192.0.2.1"), 53),),
    ]


def test_a_release_by_age_leaves_out_the_listener_at_which_a_cause_forbids_it() -> None:
    at = {WEB: counts(), DNS: counts()}
    [web] = build(sample([], [listener()])).listeners
    found = verdict(Finding("app-not-accepting", Level.WARNING, (), web))
    world = World(by_filter(AGE))
    actions = world.read(found, at)
    assert [r.filter for r in releases(actions)] == [replace(AGE, listeners=((ipaddress.ip_address("192.0.2.1"), 53),))]
    assert withheld(actions) == [(Withholding.FORBIDDEN, "app-not-accepting")]
    # Only what it concerns is held against it.
    narrow = World(by_filter(replace(AGE, listeners=((None, 53),))))
    actions = narrow.read(found, at)
    assert [r.filter.listeners for r in releases(actions)] == [((None, 53),)]
    assert withheld(actions) == []


def test_a_flood_of_a_few_hosts_is_released_from_these_alone() -> None:
    world = World(FLOOD)
    found = verdict(flood("few-sources-flood", sources="192.0.2.1/32 192.0.2.7/32"))
    actions = world.alarmed(found)
    assert [str(r.filter.sources[0]) for r in releases(actions)] == ["192.0.2.1/32", "192.0.2.7/32"]
    narrow = World(replace(FLOOD, sources=(prefix("192.0.2.4/30"),)))
    assert [str(r.filter.sources[0]) for r in releases(narrow.alarmed(found))] == ["192.0.2.7/32"]


def test_where_the_verdict_offers_no_release_none_is_made() -> None:
    world, found = World(FLOOD), verdict(flood(offers=False))
    said = [entry for _ in range(5) for entry in withheld(world.read(found))]
    assert said == [(Withholding.FORBIDDEN, "spoofed-flood: clients may wait beside it")]


def test_a_queue_that_fills_at_once_is_a_flood_by_younger_connections() -> None:
    young = Finding("spoofed-flood", Level.CRITICAL, (Fact("lasting_since_s", 1.0),))
    assert releases(World(FLOOD).alarmed(verdict(young)))
    hosts = replace(young, id="few-sources-flood", facts=(*young.facts, Fact("prefix", "192.0.2.0/28")))
    assert not releases(World(FLOOD).alarmed(verdict(hosts))), "it is not counted that none of them finishes"
    counted = replace(hosts, facts=(*hosts.facts, Fact("finished_by_them", 0)))
    [release] = releases(World(FLOOD).alarmed(verdict(counted)))
    assert release.filter.sources == (prefix("192.0.2.0/28"),)


def test_pressure_is_that_of_the_listener() -> None:
    world = World(replace(PLAIN, fuller_than=0.5))
    assert releases(world.read(None, {WEB: counts(fill=0.5)})) == []
    [release] = releases(world.read(None, {WEB: counts(fill=0.51), DNS: counts(fill=0.2)}))
    assert (release.filter.listeners, dict(release.decided_by)["fill"]) == (((None, 8080),), 0.51)
    unknown = [entry for _ in range(3) for entry in withheld(world.read(None, {WEB: counts(fill=None)}))]
    assert unknown == [(Withholding.CANNOT_TELL, "the limit of its SYN queue is not known")]


def test_in_doubt_nothing_is_released_and_that_is_said_once() -> None:
    world = World(PLAIN)
    said = [entry for _ in range(3) for entry in withheld(world.read(None, degraded="from /proc alone"))]
    assert said == [(Withholding.CANNOT_TELL, "from /proc alone")]
    world = World(PLAIN, matching="who is a client cannot be read")
    said = [entry for _ in range(3) for entry in withheld(world.read(None))]
    assert said == [(Withholding.CANNOT_TELL, "who is a client cannot be read")]


def test_observing_releases_nothing_and_is_said_once_for_each_incident() -> None:
    world, found = World(replace(FLOOD, acts=False)), verdict(flood())
    actions = [a for _ in range(20) for a in world.read(found)]
    [one] = [a for a in actions if isinstance(a, Withheld)]
    assert (one.why, one.matching, one.release.policy, one.listener) == (Withholding.OBSERVES, 500, "flood", WEB)
    assert "500 older than 2 s" in one.release.reason
    assert releases(actions) == []
    quiet = {WEB: ListenerCounts(cap=1000, fill=0.0)}
    for _ in range(30):
        world.read(verdict(), quiet)
    again = [a for _ in range(20) for a in world.read(found) if isinstance(a, Withheld)]
    assert len(again) == 1


def test_only_the_listeners_of_a_policy() -> None:
    web = replace(PLAIN, listeners=(endpoint(":8080"),))
    both = {WEB: counts(), DNS: counts()}
    assert [r.filter.listeners for r in releases(World(web).read(None, both))] == [((None, 8080),)]
    # A listener on every address, of which one is named.
    one = replace(PLAIN, listeners=(endpoint("192.0.2.9:8080"),))
    assert [r.filter.listeners for r in releases(World(one).read(None, both))] == [
        ((ipaddress.ip_address("192.0.2.9"), 8080),)
    ]


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([0.2, 1.0, 5.0])), max_size=20), st.integers(1, 2000))
def test_a_budget_is_never_exceeded(turns: list[tuple[int, float]], per_s: int) -> None:
    world = World(replace(PLAIN, budget_per_s=per_s))
    used: list[tuple[float, int]] = []
    for matching, pause_s in turns:
        world.matching = matching
        at_s = world.at_s
        for release in releases(world.read(None, {WEB: counts(), DNS: counts()})):
            assert release.most is not None
            used.append((at_s, min(matching, release.most)))
        world.at_s = at_s + pause_s
    for begin, _ in used:
        spent = sum(n for at, n in used if begin <= at < begin + 10)
        assert spent <= per_s * 11 + 1


def test_the_rest_of_a_budget_is_left_for_later_and_said() -> None:
    world = World(replace(PLAIN, budget_per_s=100), matching=500)
    first, second = world.read(None), world.read(None)
    assert [r.most for r in (*releases(first), *releases(second))] == [100, 100]
    assert withheld(first) == [(Withholding.BUDGET, "100/s")]
    assert withheld(second) == []
    assert BudgetLeft(0.0, 0.0).at(0.25, 100).left == 25


def test_what_is_never_touched_goes_with_every_release() -> None:
    never = Sparing(listeners=(endpoint(":22"),), sources=(prefix("10.0.0.0/8"),))
    [release] = releases(World(by_filter(AGE, never)).read(None))
    assert release.sparing == never
    assert never.describe() == "never :22, 10.0.0.0/8"
    [release] = releases(World(replace(PLAIN, sparing=never)).read(None))
    assert release.sparing == never


def test_every_request_is_read_while_a_policy_waits_for_the_cause_of_a_new_alarm_but_not_for_ever() -> None:
    """Whatever share of the time that takes: a depth of a queue has no cause."""

    def asked(*policies: ReleasePolicy) -> list[bool]:
        world, found = World(*policies), []
        for at in range(16):
            undecided = verdict(Finding("cannot-tell", Level.WARNING)) if at < 5 else None
            if at < 5:
                world.read(undecided)
                continue
            event = Seen(SELF, world.at_s, 700, counts={WEB: counts()}, whole=False, may_read_whole=False)
            _, actions = step(world.state, event, world.policy)
            found.append(any(isinstance(a, ReadMore) and a.missing is Missing.REQUESTS for a in actions))
            world.at_s += 1.0
        return found

    waits = asked(FLOOD)
    assert waits[0]
    assert not waits[-1], "later it is looked for as often as without a policy"
    assert not any(asked(replace(FLOOD, listeners=(endpoint(":22"),))))
