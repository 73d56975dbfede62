"""Listeners: whose request is whose, who owns them, how full their queues are, and when they give up."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

import halfopen
from halfopen.core.findings.verdict import judge
from halfopen.core.model.listeners import ListenerView
from halfopen.core.sample import LISTENER
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab


def views(lab: Lab) -> dict[tuple[str, int, int], ListenerView]:
    model = halfopen.snapshot(lab.server.netns_path)
    assert model.sample.completeness.whole, model.sample.completeness
    return {(v.address, v.port, v.ifindex): v for v in model.listeners}


def test_requests_go_to_the_listener_that_took_them(lab: Lab) -> None:
    exact = lab.server.listen(8080, address=lab.server.v4)
    exact6 = lab.server.listen(8081, address=lab.server.v6)
    dual = lab.server.listen(8082, address="::")
    plain = lab.server.listen(8083)
    lab.client.half_open(exact, 2)
    lab.client.half_open(exact6, 3)
    lab.client.half_open(dual, 4, family=4)
    lab.client.half_open(dual, 5, family=6)
    lab.client.half_open(plain, 6)
    lab.settle(20)
    found = {key[:2]: v.half_open for key, v in views(lab).items()}
    assert found == {(lab.server.v4, 8080): 2, (lab.server.v6, 8081): 3, ("::", 8082): 9, ("0.0.0.0", 8083): 6}


def test_a_bound_device_beats_none(lab: Lab) -> None:
    lab.server.listen(8080, reuseport=2)
    bound = lab.server.listen(8080, reuseport=2, device=lab.server.device)
    lab.client.half_open(bound, 7)
    lab.settle(7)
    assert {ifindex != 0: v.half_open for (_, _, ifindex), v in views(lab).items()} == {True: 7, False: 0}


def test_an_exact_address_beats_the_wildcard(lab: Lab) -> None:
    lab.server.listen(8080, reuseport=2)
    exact = lab.server.listen(8080, address=lab.server.v4, reuseport=2)
    lab.client.half_open(exact, 7)
    lab.settle(7)
    assert {key[0]: v.half_open for key, v in views(lab).items()} == {lab.server.v4: 7, "0.0.0.0": 0}


def test_reuseport_members_are_one_group(lab: Lab) -> None:
    web = lab.server.listen(8080, reuseport=4, backlog=100)
    lab.client.half_open(web, 40).settled()
    [view] = views(lab).values()
    assert (view.members, view.half_open, view.syn_queue_limit, view.accept_queue_limit) == (4, 40, 400, 400)


def test_owner_in_this_process_and_in_another(lab: Lab) -> None:
    mine = lab.server.listen(8080)
    other = lab.server.listen(8081, other_process=True)
    found = {key[1]: v for key, v in views(lab).items()}
    assert [p.pid for p in found[mine.port].processes] == [os.getpid()]
    assert [p.pid for p in found[other.port].processes] == list(other.pids) != [os.getpid()]
    assert all(p.name for v in found.values() for p in v.processes)


def test_accept_queue_and_its_overflow(lab: Lab) -> None:
    stuck = lab.server.listen(8080, mode="never", backlog=4)
    lab.client.connect(stuck, 5, timeout=1.0)
    until(lambda: next(iter(views(lab).values())).accept_queue == 5)
    late = lab.client.connect(stuck, 1, timeout=0.1)
    until(lambda: next(iter(views(lab).values())).drops > 0)
    late.close()

    def counted() -> bool:
        """Listeners are read before the counters, and a SYN may come in between."""
        model = halfopen.snapshot(lab.server.netns_path)
        counters = model.sample.counters
        return model.listeners[0].drops == counters["ListenDrops"] == counters["ListenOverflows"]

    until(counted)
    model = halfopen.snapshot(lab.server.netns_path)
    [view] = model.listeners
    assert (view.accept_queue, view.accept_queue_limit) == (5, 4)
    verdict = judge(model)
    assert verdict.findings[0].id == "app-not-accepting"


def test_deferred_accept_is_never_counted_as_half_open(lab: Lab) -> None:
    web = lab.server.listen(8080, defer_accept_s=30)
    clients = lab.client.connect(web, 10)
    lab.settle(10)
    begun = time.monotonic()
    # In every phase of the timer, its last stretch included, where a single look shows nothing peculiar.
    while time.monotonic() - begun < 4.5:
        model = halfopen.snapshot(lab.server.netns_path)
        assert (model.half_open, model.deferred) == (0, 10)
        time.sleep(0.05)
    assert model.listeners[0].defer_accept_s > 0
    clients.close()


def test_half_open_ones_of_a_deferring_listener_are_known_after_their_first_second(lab: Lab) -> None:
    web = lab.server.listen(8080, defer_accept_s=30)
    clients = lab.client.connect(web, 5)
    lab.client.half_open(web, 8)
    lab.settle(13)

    def told_apart() -> bool:
        model = halfopen.snapshot(lab.server.netns_path)
        return (model.half_open, model.deferred) == (8, 5)

    until(told_apart, timeout=20)
    clients.close()


@pytest.mark.parametrize(("cookies", "admitted"), [(1, 16), (0, 16)])
def test_the_syn_queue_limit_is_what_the_kernel_admits(lab: Lab, cookies: int, admitted: int) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", cookies)
    web = lab.server.listen(8080, backlog=admitted)
    lab.client.half_open(web, 100)
    until(lambda: lab.server.half_open() >= admitted)
    model = halfopen.snapshot(lab.server.netns_path)
    [view] = model.listeners
    assert view.syn_queue_limit == admitted
    # Newer kernels admit one more.
    assert view.half_open in (admitted, admitted + 1)
    counters = model.sample.counters
    assert (counters["SyncookiesSent"] > 0) == bool(cookies)


def test_without_cookies_the_last_quarter_of_max_syn_backlog_is_kept(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    lab.server.set_sysctl("net.ipv4.tcp_max_syn_backlog", 64)
    web = lab.server.listen(8080, backlog=512)
    lab.client.half_open(web, 400)
    until(lambda: lab.server.half_open() >= 48)
    [view] = halfopen.snapshot(lab.server.netns_path).listeners
    assert view.syn_queue_limit == 48
    assert view.half_open in (48, 49)


def test_a_queue_more_than_half_full_is_pruned_as_computed(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=64)
    lab.client.half_open(web, 60).settled()

    def old() -> ListenerView:
        return next(iter(views(lab).values()))

    until(lambda: old().young == 0)
    view = old()
    assert (view.release_time_s, view.effective_release_time_s) == (63.0, 7.0)
    until(lambda: old().half_open <= 32, timeout=30)


def test_a_listener_that_is_gone_leaves_orphans(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 9).settled()
    web.close()
    model = halfopen.snapshot(lab.server.netns_path)
    assert model.listeners == ()
    assert model.orphans == model.half_open


def test_dtype_of_listeners(lab: Lab) -> None:
    lab.server.listen(8080, address="::", v6only=True)
    sample = halfopen.sample(lab.server.netns_path)
    assert sample.listeners.dtype == LISTENER
    assert sample.listeners["v6only"].tolist() == [True]
