"""Findings and cures in words."""

from __future__ import annotations

from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.cures import (
    ContinueProcess,
    LookAtHost,
    LookAtProcess,
    LookAtQuota,
    LookAtRoute,
    RaiseConntrack,
    RaiseDescriptors,
)
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Release
from halfopen.core.tune.keys import ABORT, BACKLOG, COOKIES, RETRIES, SOMAXCONN, SYN_BACKLOG, SYNACK
from halfopen.core.units import endpoint
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import SENTENCES, by_facts
from rows import named
from verdicts import many, model_of, verdict_of


def test_every_rule_has_a_sentence_and_every_sentence_a_rule() -> None:
    assert set(SENTENCES) == set(RULES)


def test_a_cause_that_no_family_words_is_told_by_its_title_and_its_facts() -> None:
    facts = (Fact("resets_per_s", 1200.0, 100, "per_s"), Fact("source", "192.0.2.1"))
    assert by_facts(Finding("scan", Level.NOTICE, facts)) == (RULES["scan"].title, "1,200 RSTs/s, from 192.0.2.1")


def test_the_first_line() -> None:
    assert headline(model_of([])) == "0 half-open connections"
    assert headline(model_of(many(2))).startswith("2 half-open connections, the oldest 0.5 s, all on :8080")


def test_commands() -> None:
    assert command((Release(named("self"), Filter(3.0, None, (endpoint(":8080"),)), ""),)) == (
        "halfopen release --listener :8080 --older-than 3s"
    )
    assert command((Release(named("web"), Filter(), ""),)) == "halfopen release --netns web --all"
    assert command((ChangeSetting("self", SYNACK, 2, ""),)) == "halfopen tune apply --release-time 7s"
    assert command((ChangeSetting("web", COOKIES, 1, ""),)) == "halfopen tune apply --netns web --cookies on"
    assert command((ChangeSetting("self", SYN_BACKLOG, 4096, ""),)) == "halfopen tune apply --half-open 4096"
    both = ChangeSetting("self", SOMAXCONN, 4096, ""), ChangeListener("self", "::1", 80, BACKLOG, 4096, "")
    assert command(both) == (
        "halfopen tune apply --set somaxconn=4096 && halfopen tune listener '[::1]:80' --backlog 4096"
    )
    assert command((ChangeListener("web", "::", 80, RETRIES, 2, ""),)) == (
        "halfopen tune listener :80 --release-time 7s --netns web"
    )
    assert command((Look("web", "watch", ""),)) == "halfopen watch --netns web"
    assert command((Look("self", "doctor", ""),)) == "halfopen doctor"
    assert command((ChangeSetting("self", ABORT, 0, ""),)) == "halfopen tune apply --set tcp_abort_on_overflow=0"
    assert command((LookAtProcess(7, ""),)) == "ps -Lp 7 -o tid,stat,wchan:32,comm"
    assert command((LookAtProcess(7, "", "stack"),)) == "cat /proc/7/stack"
    assert command((ContinueProcess(7, ""), ContinueProcess(8, ""))) == "kill -CONT 7 && kill -CONT 8"
    assert command((RaiseDescriptors(7, 1024, ""),)) == "prlimit --pid 7 --nofile=1024"
    assert command((LookAtQuota("/sys/fs/cgroup/a b", "", ""),)) == "grep . '/sys/fs/cgroup/a b'/cpu.*"
    unit = LookAtQuota("/sys/fs/cgroup/x", "web.service", "")
    assert command((unit,)) == "systemctl show web.service -p CPUQuotaPerSecUSec"
    assert command((RaiseConntrack("web", 2000, ""),)) == "sysctl -w net.netfilter.nf_conntrack_max=2000"
    assert command((LookAtHost("web", "device", "eth0", ""),)) == "ip netns exec web ethtool -g eth0"
    martians = "sysctl -w net.ipv4.conf.all.log_martians=1"
    assert command((LookAtHost("self", "reverse-path", "", ""),)) == martians
    limits = "sysctl net.core.netdev_max_backlog net.core.netdev_budget_usecs"
    assert command((LookAtHost("web", "cpu", "eth0", ""),)) == limits
    assert command((LookAtRoute("self", "192.0.2.1", ""),)) == "ip route get 192.0.2.1"
    missing = LookAtRoute("self", "192.0.2.1", "no-route-back")
    assert command((missing,)) == "ip route show table all match 192.0.2.1"
    assert command((LookAtRoute("self", "", "no-route-back"),)) == "ip route show table all"
    assert command((LookAtRoute("web", "192.0.2.1", ""),)) == "ip netns exec web ip route get 192.0.2.1"
    assert command((LookAtRoute("pid:7", "192.0.2.1", ""),)) == "nsenter -t 7 -n ip route get 192.0.2.1"
    assert command((LookAtRoute("/run/x", "192.0.2.1", ""),)) == "nsenter --net=/run/x ip route get 192.0.2.1"


def test_there_is_always_a_next_command() -> None:
    verdict, _ = verdict_of([])
    assert next_commands(verdict) == ["halfopen watch"]


def test_facts_of_connections_are_words() -> None:
    """A report had `incoming 1, socket state CLOSE_WAIT, signature unaccepted, ages exact 1, between looks 31 s`."""
    facts = (
        *(Fact("process", "nginx"), Fact("pid", 7), Fact("peer", "clients of :80"), Fact("peers", 3)),
        *(Fact("incoming", 1), Fact("socket_state", "CLOSE_WAIT"), Fact("signature", "unaccepted")),
        *(Fact("sockets", 118), Fact("oldest_s", 7.2, unit="s"), Fact("youngest_s", 0.0, unit="s")),
        *(Fact("ages_exact", 1), Fact("younger_than_10s", 118), Fact("growth_per_s", 16.4, unit="per_s")),
        *(Fact("unread_bytes", 4096), Fact("came", 118), Fact("left", 122), Fact("between_looks_s", 31.0, unit="s")),
    )
    assert phrases(facts) == (
        "nginx 7, clients of :80, 3 peers, in the state CLOSE_WAIT, 118 connections, the oldest 7.2 s, "
        "the youngest 0 s, 118 of them younger than 10 s, 16.4/s more by their ages, 4.0 KiB not read, "
        "118 came and 122 left in 31 s"
    )


def test_what_is_none_is_not_told_as_evidence_of_some() -> None:
    """An alarm had `800 half-open, none half-open for long, at least 0% of arrivals are never answered, 0 sources`."""
    facts = (Fact("half_open", 800), Fact("unanswered_share", 0.0, 0.5), Fact("distinct_sources", 0))
    assert phrases(facts) == "800 half-open"
