"""Why nobody accepts: what the processes that hold the socket were doing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from accepting import ASLEEP, CGROUP, WAITING, found_by, judged_by
from halfopen.core.findings.cures import (
    ContinueProcess,
    LookAtProcess,
    LookAtQuota,
    RaiseDescriptors,
    RaiseOpenFiles,
)
from halfopen.core.findings.evidence import AcceptQueue, Evidence
from halfopen.core.findings.finding import Level
from halfopen.core.findings.judging import judged
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import build
from halfopen.core.policy.actions import ChangeListener
from halfopen.core.sample import QUEUES, Completeness, Process
from halfopen.core.sample.workers import OpenFiles, Quota, Workers, WorkerState
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener, sample
from verdicts import second_look, verdict_of


def test_it_is_named_long_before_the_queue_is_full() -> None:
    verdict, ids = judged_by([replace(WAITING, state="T")], [replace(WAITING, state="T")], held=3)
    assert (ids, verdict.level, verdict.findings[0].text("why")) == (["app-not-accepting"], Level.WARNING, "stopped")


@pytest.mark.parametrize(("used", "why"), [(24, "out-of-descriptors"), (23, "unknown"), (None, "unknown")])
def test_descriptors_are_used_up_or_not(used: int | None, why: str) -> None:
    found, verdict = found_by(replace(WAITING, descriptors=used, descriptor_limit=24))
    assert found.text("why") == why
    if used == 24:
        assert (found.count("descriptors"), found.fact("descriptors").limit) == (24, 24)
        assert verdict.next == ((RaiseDescriptors(7, 1024, "app-not-accepting"),),)


def test_the_whole_system_has_no_room_for_an_open_file() -> None:
    """accept() fails with ENFILE, but for a process with CAP_SYS_ADMIN."""
    owners = {1: (Process(7, "web"),)}
    full = listener(accept_queue=129, limit=128, cookie=5)

    def found(count: int, *, exempt: bool = False) -> Verdict:
        one = replace(WAITING, exempt=exempt)
        seen = Workers(100.5, {7: one}, earlier=Workers(100.0, {7: one}), files=OpenFiles(count, 1000))
        return second_look([], full, owners=owners, parts=(seen,))[0]

    verdict = found(1000)
    assert verdict.findings[0].text("why") == "out-of-descriptors"
    assert verdict.next == ((RaiseOpenFiles(2000, "app-not-accepting"),),)
    assert command(verdict.next[0]) == "sysctl -w fs.file-max=2000"
    assert "the whole system has 1,000 of 1,000 open (fs.file-max)" in say(verdict.findings[0])
    for other in (found(999), found(1000, exempt=True)):
        assert other.findings[0].text("why") == "unknown"


def test_a_limit_in_the_thousands_is_doubled() -> None:
    _, verdict = found_by(replace(WAITING, descriptors=65536, descriptor_limit=65536))
    assert verdict.next == ((RaiseDescriptors(7, 131072, "app-not-accepting"),),)


@pytest.mark.parametrize(("throttled", "why"), [(4, "throttled"), (1, "unknown"), (0, "unknown")])
def test_a_quota_used_up_in_most_periods(throttled: int, why: str) -> None:
    before = replace(WAITING, quotas=(Quota(CGROUP, 100, 50),))
    found, verdict = found_by(before, replace(before, quotas=(Quota(CGROUP, 105, 50 + throttled),)))
    assert found.text("why") == why
    if why == "throttled":
        assert (found.count("throttled_periods"), found.fact("throttled_periods").limit) == (4, 5)
        assert verdict.next == ((LookAtQuota(CGROUP, "", "app-not-accepting"),),)


def test_a_process_that_gets_no_cpu() -> None:
    found, verdict = found_by(replace(WAITING, state="R"), replace(WAITING, state="R", queued_s=0.4, ran_s=0.02))
    assert (found.text("why"), found.number("waited_for_cpu_share")) == ("starved", 0.8)
    assert command(verdict.next[0]) == "top -o %CPU"


def test_a_process_that_waits_for_something_else() -> None:
    found, verdict = found_by(ASLEEP)
    assert (found.text("why"), found.text("waits_in")) == ("blocked", "hrtimer_nanosleep")
    assert verdict.next == ((LookAtProcess(7, "app-not-accepting"),),)


def test_a_process_that_computes() -> None:
    found, verdict = found_by(replace(WAITING, state="R", waits_in=("",)), replace(WAITING, state="R", ran_s=0.5))
    assert (found.text("why"), found.number("cpu_share")) == ("blocked", 1.0)
    assert command(verdict.next[0]) == "top -H -p 7"


@pytest.mark.parametrize(
    "look",
    [
        replace(ASLEEP, waits_in=("hrtimer_nanosleep", "ep_poll")),
        replace(ASLEEP, waits_in=("hrtimer_nanosleep", "")),
        replace(ASLEEP, waits_in=("",)),
        replace(ASLEEP, whole=False),
        WAITING,
    ],
    ids=["a thread waits for events", "a thread runs", "hidden", "not all threads", "for events"],
)
def test_who_may_be_about_to_accept_is_not_called_blocked(look: WorkerState) -> None:
    assert found_by(look)[0].text("why") == "unknown"


def test_uninterruptible_at_both_looks() -> None:
    found, verdict = found_by(replace(WAITING, state="D", waits_in=("ep_poll", "io_schedule")))
    assert command(verdict.next[0]) == "cat /proc/7/stack"
    assert (found.text("why"), found.text("state")) == ("blocked", "D")
    assert found_by(WAITING, replace(WAITING, state="D"))[0].text("why") == "unknown"


def test_who_accepts_a_few_is_slow_wherever_it_waits() -> None:
    found, verdict = found_by(ASLEEP, rates={"PassiveOpens": 20})
    assert (found.text("why"), found.count("accepted_at_most")) == ("slow", 10)
    assert command(verdict.next[0]) == "ps -Lp 7 -o tid,stat,wchan:32,comm"


@pytest.mark.parametrize(
    ("before", "held", "oldest_s", "level"),
    [
        (500, 520, 14.0, Level.WARNING),
        (500, 500, 1.5, Level.NOTICE),
        (500, 520, 0.2, None),  # many come, and none waits for long
        (800, 520, 14.0, None),  # it was stopped, and catches up
    ],
    ids=["falls behind", "keeps level", "busy", "catches up"],
)
def test_who_falls_behind_is_named_while_the_queue_has_room(
    before: int, held: int, oldest_s: float, level: Level | None
) -> None:
    """A backlog of 4,096 hides for minutes that the program accepts fewer than come."""
    queues = [np.zeros(1, dtype=QUEUES) for _ in range(2)]
    for at, queue in enumerate(queues):
        queue["oldest_isn"], queue["oldest_us"] = 7 + at, round((100.5 - oldest_s) * 1e6)
    verdict, ids = second_look(
        [],
        listener(accept_queue=held, limit=4096, cookie=5),
        first=[listener(accept_queue=before, limit=4096, cookie=5)],
        first_queues=[queues[0]],
        owners={1: (Process(7, "web"),)},
        workers=([WAITING], [WAITING]),
        rates={"PassiveOpens": 80.0},
        queues=queues[1],
    )
    found = next((f for f in verdict.findings if f.id == "app-not-accepting"), None)
    assert (None if found is None else found.level) == level
    if found is not None:
        assert found.text("why") == "slow"
        assert "accepts fewer than come" in say(found)
        assert ids[0] == "app-not-accepting"


@pytest.mark.parametrize(
    ("held", "oldest_s", "named"), [(90, 14.0, True), (90, 0.5, False), (5, 14.0, True), (5, 5.0, False)]
)
def test_one_look_tells_that_connections_wait_for_long(held: int, oldest_s: float, named: bool) -> None:
    queue = np.zeros(1, dtype=QUEUES)
    queue["oldest_isn"], queue["oldest_us"] = 7, round((100.0 - oldest_s) * 1e6)
    waiting = listener(accept_queue=held, limit=511, cookie=5)
    ids = verdict_of([], waiting, queues=queue, monotonic_s=100.0)[1]
    assert ("app-not-accepting" in ids) is named


def test_a_queue_that_was_empty_a_moment_ago_is_a_burst() -> None:
    """Many were accepted between the looks, and it was empty at the first."""
    full = listener(accept_queue=6, limit=5, cookie=5)
    calm = listener(accept_queue=0, limit=5, cookie=5)
    verdict, ids = second_look([], full, first=[calm], rates={"PassiveOpens": 200})
    assert "app-not-accepting" not in ids
    assert verdict.level is Level.OK


def test_a_queue_that_overflows_and_has_one_place_free_is_not_drained() -> None:
    """A program that accepts a few a second is caught just after it took one."""
    nearly = listener(accept_queue=128, limit=128, cookie=5)
    rates = {"PassiveOpens": 20, "ListenOverflows": 40}
    verdict, ids = second_look([], nearly, rates=rates)
    assert ids == ["app-not-accepting"]
    assert verdict.findings[0].text("why") == "unknown"
    assert second_look([], nearly, rates={"PassiveOpens": 400})[1] == []
    assert "app-not-accepting" not in second_look([], nearly, first=[listener(limit=128, cookie=5)], rates=rates)[1]


def test_clients_are_turned_away_though_one_was_taken_just_now() -> None:
    """A few a second are accepted of many, so that the queue is short of full at the very moment of the look."""
    rates, counters = {"PassiveOpens": 20, "ListenOverflows": 40}, {"ListenOverflows": 90, "ListenDrops": 90}
    levels = []
    for drops in (40, 60):
        before = listener(accept_queue=128, limit=128, cookie=5, drops=40)
        verdict, _ = second_look(
            [],
            listener(accept_queue=127, limit=128, cookie=5, drops=drops),
            first=[before],
            rates=rates,
            counters=counters,
        )
        levels.append(verdict.findings[0].level)
    # The first overflows are those of another listener.
    assert levels == [Level.WARNING, Level.CRITICAL]


def _next_in(isn: int, oldest_us: int) -> Any:
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"], queues["oldest_isn"], queues["oldest_us"] = True, isn, oldest_us
    return queues


def test_the_same_connection_is_next_at_both_looks_so_that_none_was_accepted() -> None:
    """However many handshakes finish at other listeners meanwhile."""
    waiting, rates = listener(accept_queue=3, limit=128, cookie=5), {"PassiveOpens": 4000}
    verdict, ids = second_look([], waiting, rates=rates, queues=_next_in(77, 98_500_000))
    assert (ids, verdict.level) == (["app-not-accepting"], Level.NOTICE)
    found = verdict.findings[0]
    assert (found.count("accepted_at_most"), found.number("oldest_s")) == (0, 2.0)


@pytest.mark.parametrize(("age_s", "longer"), [(1.0, True), (10.0, False)])
def test_no_longer_queue_is_proposed_where_the_next_one_has_waited_for_long(age_s: float, longer: bool) -> None:
    """A burst is accepted sooner: what is longer would fill as well."""
    queues = _next_in(77, round((100.0 - age_s) * 1e6))
    owners = {1: (Process(7, "web"),)}
    verdict, _ = verdict_of([], listener(accept_queue=129, limit=128, cookie=5), queues=queues, owners=owners)
    cures = [step for cure in verdict.next for step in cure]
    assert any(isinstance(step, ChangeListener) for step in cures) is longer


@pytest.mark.parametrize(
    ("hidden", "step"),
    [(True, "sudo halfopen status"), (False, "halfopen diagnose --for 10s")],
    ids=["no privilege", "out of a container's sight"],
)
def test_no_longer_queue_is_proposed_where_the_process_could_not_be_read(hidden: bool, step: str) -> None:
    """Whether it is slow, stopped or met a burst, nobody knows then."""
    verdict, ids = second_look(
        [],
        listener(accept_queue=129, limit=128, cookie=5),
        rates={"PassiveOpens": 400},
        completeness=Completeness(hidden=hidden),
    )
    assert ids[0] == "app-not-accepting"
    assert "cannot tell why: the process is hidden from here" in say(verdict.findings[0])
    assert [command(cure) for cure in verdict.next] == [step]


def test_another_connection_is_next_so_that_one_was_accepted() -> None:
    waiting = listener(accept_queue=3, limit=128, cookie=5)
    first = [_next_in(76, 98_000_000)]
    assert second_look([], waiting, queues=_next_in(77, 98_500_000), first_queues=first)[1] == []


ARBITER = WorkerState(6, 1, "S", ("do_select",))


def test_the_worker_is_named_and_not_its_arbiter() -> None:
    workers = [ARBITER, *(replace(WAITING, pid=pid, parent=6, state="T") for pid in (7, 8))]
    verdict, ids = judged_by(workers, workers)
    assert ids == ["app-not-accepting"]
    found = verdict.findings[0]
    assert (found.count("pid"), found.count("processes"), found.count("stuck_processes")) == (7, 2, 2)
    assert verdict.next == (tuple(ContinueProcess(pid, "app-not-accepting") for pid in (7, 8)),)


def test_one_worker_of_several() -> None:
    workers = [ARBITER, *(replace(WAITING, pid=pid, parent=6, state="T" if pid == 8 else "S") for pid in (7, 8, 9))]
    verdict, ids = judged_by(workers, workers, rates={"PassiveOpens": 20})
    assert ids == ["member-not-accepting"]
    found = verdict.findings[0]
    assert (found.count("pid"), found.text("why"), found.has("stuck_sockets")) == (8, "stopped", False)
    assert (found.count("stuck_processes"), found.count("processes")) == (1, 3)


def test_the_parent_of_a_worker_that_was_not_looked_at_is_not_blamed() -> None:
    """There was no time for the worker: the parent, which waits for it, may be the one or the other."""
    waits = replace(ARBITER, waits_in=("do_wait",))
    verdict, _ = judged_by([waits], [waits], names={6: "web", 7: "web"})
    assert verdict.findings[0].text("why") == "unknown"
    # A child is no such parent, and a parent that is looked at as well watches over it.
    child = replace(ASLEEP, parent=6)
    verdict, _ = judged_by([child], [child], names={6: "web", 7: "web"})
    found = verdict.findings[0]
    assert (found.count("pid"), found.text("why")) == (7, "blocked")


def test_names_of_workers_may_differ_from_their_arbiters() -> None:
    workers = [ARBITER, replace(ASLEEP, parent=6)]
    names = {6: "gunicorn: maste", 7: "gunicorn: worke"}
    assert judged_by(workers, workers, names=names)[0].findings[0].text("why") == "blocked"


def test_a_child_of_another_name_may_hold_the_socket_by_accident() -> None:
    """A shell that was started by the server waits for its command: that is no reason."""
    child = replace(ASLEEP, pid=8, parent=6, waits_in=("do_wait",))
    names = {6: "web", 8: "sh"}
    idle = [ARBITER, child]
    assert judged_by(idle, idle, names=names)[0].findings[0].text("why") == "unknown"
    stopped = [replace(ARBITER, state="T"), child]
    verdict, _ = judged_by(stopped, stopped, names=names)
    found = verdict.findings[0]
    assert (found.count("pid"), found.text("why")) == (6, "stopped")


def test_queues_on_which_nothing_waits_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = Evidence.accept_queues

    def queues(e: Evidence, view: ListenerView) -> list[AcceptQueue]:
        asked.append(view.port)
        return real(e, view)

    monkeypatch.setattr(Evidence, "accept_queues", queues)
    rows = [listener(port=port, accept_queue=2 * (port == 443), limit=2) for port in range(400, 500)]
    judged(Evidence(build(sample([], rows, counters={"ListenDrops": 0, "ListenOverflows": 0}))))
    assert set(asked) == {443}
