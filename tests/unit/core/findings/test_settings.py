"""Settings that cost clients whatever the traffic; none of the defaults is remarked upon."""

from __future__ import annotations

import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.sample import ListenerOptions
from halfopen.core.tune.keys import ABORT, COOKIES, RETRIES, SYNACK
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.sentences import say
from rows import listener
from verdicts import arrivals, asking, many, releases, second_look, silent, timers, verdict_of


def test_the_defaults_of_a_healthy_host_are_not_remarked_upon() -> None:
    assert verdict_of([])[1] == []
    assert second_look(silent(40), rates={"PassiveOpens": 500})[1] == []


def test_a_single_synack() -> None:
    verdict, ids = verdict_of([], settings={"tcp_synack_retries": 0})
    assert (ids, verdict.level) == (["release-time-short"], Level.NOTICE)
    assert verdict.next[0] == (ChangeSetting("self", SYNACK, 2, "release-time-short"),)
    late = {"TCPTimeouts": 8, "OutRsts": 8}
    verdict, _ = second_look(many(3), settings={"tcp_synack_retries": 0}, rates=late)
    assert verdict.level is Level.WARNING
    own = {1: ListenerOptions(retries=0)}
    verdict, _ = verdict_of([], listener(), options=own)
    assert verdict.next[0] == (ChangeListener("self", "0.0.0.0", 8080, RETRIES, 2, "release-time-short"),)


def test_handshakes_that_time_out_may_be_of_nobody() -> None:
    """A flood of 400/s was said to be clients that cannot get in, and more retries were proposed. No ACK came late."""
    rates = {"TCPTimeouts": 400, "OutRsts": 6, "PassiveOpens": 30}
    verdict, ids = second_look(many(400, expires_ms=400), settings={"tcp_synack_retries": 0}, rates=rates)
    assert (ids[0], verdict.level) == ("release-time-short", Level.NOTICE)
    assert command(verdict.next[0]).startswith("halfopen diagnose --for 10s")


def test_clients_that_ask_again_within_a_second_hear_nobody_too_late() -> None:
    ids = second_look(asking(12), settings={"tcp_synack_retries": 0}, **timers(12))[1]
    assert ids == ["release-time-short"]
    assert second_look(asking(12), settings={"tcp_synack_retries": 1}, **timers(12))[1] == ["synacks-lost"]


@pytest.mark.parametrize(("retries", "ids"), [(5, []), (6, ["release-time-long"]), (10, ["release-time-long"])])
def test_more_than_the_default_keeps_those_who_vanished(retries: int, ids: list[str]) -> None:
    at = {"tcp_synack_retries": retries}
    verdict, found = second_look(silent(20), settings=at, rates={"PassiveOpens": 400})
    assert found == ids
    assert not releases(verdict)
    assert second_look([], settings=at)[1] == []


def test_cookies_always() -> None:
    verdict, ids = verdict_of([], settings={"tcp_syncookies": 2}, counters={"SyncookiesSent": 7, "SyncookiesRecv": 5})
    assert (ids, verdict.level) == (["cookies-always"], Level.NOTICE)
    assert verdict.next[0] == (ChangeSetting("self", COOKIES, 1, "cookies-always"),)


def test_whom_cookies_cost_window_scaling_is_counted() -> None:
    seen = arrivals({"192.0.2.77": {"syns": 40, "finished": 40, "no_timestamps": 3}})
    verdict, ids = second_look([], settings={"tcp_syncookies": 2}, parts=[seen])
    assert ids == ["cookies-always"]
    assert "3 of 40 handshakes that finished meanwhile had no TCP timestamps" in say(verdict.findings[0])
    whole = arrivals({"192.0.2.77": {"syns": 40, "finished": 40}})
    verdict, _ = second_look([], settings={"tcp_syncookies": 2}, parts=[whole])
    assert "each of 40 handshakes that finished meanwhile had TCP timestamps" in say(verdict.findings[0])
    verdict, _ = second_look([], settings={"tcp_syncookies": 2})
    assert "clients without TCP timestamps lose window scaling" in say(verdict.findings[0])


@pytest.mark.parametrize(("sent", "back", "told"), [(5000, 10, True), (5000, 4000, False), (30, 0, False)])
def test_cookies_that_do_not_come_back_are_told_and_nobody_is_accused(sent: int, back: int, told: bool) -> None:
    rates = {"SyncookiesSent": sent, "SyncookiesRecv": back}
    verdict, ids = second_look([], settings={"tcp_syncookies": 2}, rates=rates)
    assert (ids, verdict.level) == (["cookies-always"], Level.WARNING if told else Level.NOTICE)
    text = "5,000/s are sent now, and 10/s come back: either a flood, or clients that do not receive the SYN-ACK"
    assert (text in say(verdict.findings[0])) is told
    assert next_commands(verdict)[0].startswith("halfopen diagnose") is told


def test_abort_on_overflow_counts_where_something_overflowed() -> None:
    on = {"tcp_abort_on_overflow": 1}
    assert verdict_of([], settings=on)[1] == []
    verdict, ids = verdict_of([], listener(drops=3), settings=on, counters={"ListenOverflows": 3, "ListenDrops": 3})
    assert ids == ["abort-on-overflow", "past-overflows"]
    both = {"ListenOverflows": 3, "ListenDrops": 3}
    verdict, ids = second_look([], listener(drops=3), settings=on, counters=both, rates={"ListenOverflows": 4})
    assert (ids[0], verdict.level) == ("abort-on-overflow", Level.CRITICAL)
    assert (ChangeSetting("self", ABORT, 0, "abort-on-overflow"),) in verdict.next
