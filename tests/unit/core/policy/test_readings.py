"""What detection is told of a reading: whose clients were turned away, whose cookies, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import Model, build
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.readings import cause_of, counts_of, gained, subject_text
from halfopen.core.sample import QUEUES
from rows import listener, request, sample

WEB: Subject = (2, "0.0.0.0", 8080, 0)
SSH: Subject = (2, "0.0.0.0", 22, 0)


def depths(
    queues: Sequence[tuple[int, int]],
    counters: dict[str, int] | None = None,
    drops: Sequence[int] = (0, 0),
    **values: Any,
) -> Model:
    """A reading of depths of :8080 and :22, of each how many wait and how many of them are young."""
    rows = [
        listener(port=port, inode=inode, cookie=inode, drops=drops[inode - 1], **values.get("listener", {}))
        for inode, port in ((1, 8080), (2, 22))
    ]
    found = np.zeros(2, dtype=QUEUES)
    found["known"] = True
    found["qlen"], found["young"] = [q for q, _ in queues], [young for _, young in queues]
    return build(
        sample([], rows, depths=True, queues=found, counters=counters or {}, settings=values.get("settings", {}))
    )


def test_nothing_is_told_of_idle_listeners_but_of_those_asked_for() -> None:
    now = depths([(0, 0), (0, 0)])
    assert counts_of(now, now) == {}
    assert set(counts_of(now, now, wanted=[SSH, None])) == {SSH, None}
    assert set(counts_of(now, now, wanted=[(2, "192.0.2.1", 99, 0)])) == set()  # it is gone


def test_who_waits_and_for_how_long() -> None:
    found = counts_of(depths([(50, 20), (0, 0)]), None)
    assert found == {WEB: ListenerCounts(50, 30, 128, 63.0, fill=50 / 128)}


def test_every_request_tells_the_same() -> None:
    rows = [request(source_port=1024 + i, retransmits=i % 2, cookie=i + 1) for i in range(10)]
    found = counts_of(build(sample(rows, [listener()])), None)
    assert (found[WEB].waiting, found[WEB].unanswered) == (10, 5)


def test_clients_that_were_turned_away_are_laid_to_the_listener_whose_drops_moved() -> None:
    before = depths([(1, 1), (0, 0)], {"ListenDrops": 10}, (4, 2))
    now = depths([(1, 1), (0, 0)], {"ListenDrops": 17}, (4, 6))
    found = counts_of(now, before)
    # The counters are read a little later: three more were turned away since.
    assert {subject: one.turned_away for subject, one in found.items()} == {WEB: 0, SSH: 4}
    nobodys = depths([(1, 1), (0, 0)], {"ListenDrops": 17}, (4, 2))
    assert {subject: one.turned_away for subject, one in counts_of(nobodys, before).items()} == {WEB: 0, None: 7}
    assert None not in counts_of(nobodys, before, some=True)


def test_cookies_are_those_of_the_fullest_queue() -> None:
    before = depths([(128, 0), (3, 0)], {"SyncookiesSent": 0, "SyncookiesRecv": 0})
    now = depths([(128, 0), (3, 0)], {"SyncookiesSent": 90, "SyncookiesRecv": 30})
    found = counts_of(now, before)
    assert (found[WEB].cookies, found[WEB].cookies_unanswered, found[WEB].syn_full) == (90, 60, True)
    assert (found[SSH].cookies, found[SSH].cookies_unanswered, found[SSH].syn_full) == (0, 0, False)
    assert None not in found


def test_cookies_that_are_always_sent_tell_of_no_full_queue() -> None:
    always = {"tcp_syncookies": 2}
    before = depths([(0, 0), (0, 0)], {"SyncookiesSent": 0, "SyncookiesRecv": 0}, settings=always)
    now = depths([(0, 0), (0, 0)], {"SyncookiesSent": 90, "SyncookiesRecv": 30}, settings=always)
    assert counts_of(now, before) == {None: ListenerCounts(cookies_unanswered=60)}


def test_a_counter_that_began_anew_gained_nothing() -> None:
    before, now = depths([(0, 0), (0, 0)], {"ListenDrops": 10}), depths([(0, 0), (0, 0)], {"ListenDrops": 3})
    assert (gained("ListenDrops", now, before), gained("ListenDrops", now, None)) == (0, 0)
    assert gained("Unknown", now, before) == 0


def test_a_full_accept_queue_is_told_and_has_a_critical_verdict() -> None:
    now = build(sample([], [listener(accept_queue=129, limit=128), listener(port=22, inode=2)]))
    verdict = judge(now)
    [(subject, one)] = counts_of(now, None, verdict).items()
    assert (subject, one.accept_full, one.critical) == (WEB, True, True)
    assert cause_of(verdict, WEB) == "app-not-accepting"
    assert (cause_of(verdict, SSH), cause_of(verdict, None)) == ("", "app-not-accepting")


def test_the_cause_is_the_worst_finding_of_the_listener_and_no_remark() -> None:
    now = build(sample([], [listener(accept_queue=129, limit=128)], settings={"tcp_syncookies": 0}))
    verdict = judge(now)
    assert cause_of(verdict, WEB) == "app-not-accepting"
    assert cause_of(Verdict(verdict.level, (), verdict.next), WEB) == ""


def test_names() -> None:
    assert (subject_text(WEB), subject_text(None)) == (":8080", "")
    assert subject_text((10, "2001:db8::1", 443, 0)) == "[2001:db8::1]:443"
