"""Floods that no queue shows: every SYN is answered by cookie, or given up after a second."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.findings.diagnosis import TimeBase, time_base
from halfopen.core.findings.finding import Level
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from verdicts import arrivals, many, peers, releases, second_look

ALWAYS: dict[str, Any] = {
    "settings": {"tcp_syncookies": 2},
    "rates": {"SyncookiesSent": 130, "SyncookiesRecv": 10, "PassiveOpens": 10},
}
ONE_SYNACK: dict[str, Any] = {
    "settings": {"tcp_synack_retries": 0},
    "rates": {"TCPTimeouts": 120, "PassiveOpens": 10},
}
CLIENTS = {f"99.1.{i}.1": {"syns": 1, "acks": 2, "finished": 1} for i in range(30)}


def forged(n: int = 360, **counts: int) -> dict[str, dict[str, int]]:
    """Addresses as if drawn, each of which sends a SYN once."""
    return {f"{20 + i % 100}.{i // 100}.{i % 250}.7": {"syns": 1, **counts} for i in range(n)}


def looked(sources: dict[str, dict[str, int]], how: dict[str, Any], seconds: float = 3.0, *parts: Any) -> Any:
    return second_look(many(60, expires_ms=400), parts=[replace(arrivals(sources), seconds=seconds), *parts], **how)


@pytest.mark.parametrize("how", [ALWAYS, ONE_SYNACK], ids=["cookies always", "one SYN-ACK"])
def test_a_flood_is_told_by_packets(how: dict[str, Any]) -> None:
    verdict, ids = looked({**forged(), **CLIENTS}, how)
    assert ids[0] == "spoofed-flood"
    assert "release-time-long" not in ids
    [found, *others] = verdict.findings
    assert (found.level, found.count("distinct_sources")) == (Level.WARNING, 360)
    assert found.number("completions_per_s") == 10
    assert 100 <= found.number("unanswered_per_s") <= 120
    assert time_base(found.fact("unanswered_per_s")) is TimeBase.BETWEEN
    assert "they come from 360 sources, each of them once" in say(found)
    assert not releases(verdict)
    # Three retries would keep the forged ones for seven times as long.
    assert all(not one.cures for one in others if one.id == "release-time-short")


@pytest.mark.parametrize("how", [ALWAYS, ONE_SYNACK], ids=["cookies always", "one SYN-ACK"])
@pytest.mark.parametrize(
    "sources",
    [
        {**forged(acks=1), **CLIENTS},
        {f"20.0.{i}.7": {"syns": 3} for i in range(120)},
        {**forged(resets=1), **CLIENTS},
        {f"20.0.{i // 200}.{i % 200}": {"syns": 1} for i in range(360)},
        {**forged(40), **CLIENTS},
    ],
    ids=["their ACKs come late", "they ask again", "they reset", "one network", "a few"],
)
def test_who_may_be_a_client_is_not_called_forged(how: dict[str, Any], sources: dict[str, dict[str, int]]) -> None:
    verdict, ids = looked(sources, how)
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


def test_an_answer_is_awaited_for_two_round_trips() -> None:
    """The first of a far crowd have sent no ACK yet, and a client asks again after a second."""
    assert "spoofed-flood" not in looked({**forged(), **CLIENTS}, ALWAYS, 1.0)[1]
    far = peers({"99.1.1.1": 1.0}, rtt_s=1.6)
    assert "spoofed-flood" not in looked({**forged(), **CLIENTS}, ALWAYS, 3.0, far)[1]
    assert "spoofed-flood" in looked({**forged(), **CLIENTS}, ALWAYS, 4.0, far)[1]


def test_a_queue_that_keeps_requests_is_judged_by_those_that_last() -> None:
    usual = {"rates": {"PassiveOpens": 10}}
    assert "spoofed-flood" not in looked({**forged(), **CLIENTS}, usual)[1]


def cut_off(seconds: float, per_s: int = 30) -> dict[str, dict[str, int]]:
    """Clients that hear nothing, for a minute by now: each sends its SYN again after 1, 2, 4, 8 and 16 s."""
    sources = {}
    for i in range(int((60 + seconds) * per_s)):
        came = i / per_s - 60
        syns = sum(0 <= came + after < seconds for after in (0, 1, 3, 7, 15, 31))
        if syns:
            sources[f"{20 + i % 100}.{i // 100}.{i % 250}.7"] = {"syns": syns, "repeats": syns - 1}
    return sources


@pytest.mark.parametrize("seconds", [2.0, 3.0, 5.0])
def test_clients_that_hear_nothing_are_not_called_forged(seconds: float) -> None:
    """In two seconds most of their SYNs seem to be the only one: those before it were not seen."""
    how = {**ALWAYS, "rates": {"SyncookiesSent": 130}}
    assert "spoofed-flood" not in looked(cut_off(seconds), how, seconds)[1]


def test_after_a_long_look_no_longer_one_is_asked_for_but_the_packets() -> None:
    """Clients that hear nothing and hosts that flood differ in their ports, which are not counted."""
    how = {**ALWAYS, "rates": {"SyncookiesSent": 130}}
    again = {f"10.9.{i}.7": {"syns": 4} for i in range(40)}
    found = next(one for one in looked(again, how)[0].findings if one.id == "cookies-always")
    assert found.count("sources_again") == 40
    assert "40 sources sent several SYNs and no ACK" in say(found)
    assert command(found.cures[0]).startswith("tcpdump")
    short = next(one for one in looked(again, how, 0.5)[0].findings if one.id == "cookies-always")
    assert "A longer look with eBPF" in say(short)
