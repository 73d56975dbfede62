"""Scenes of a server program that does not accept: stopped, blocked, slow, out of descriptors, starved of CPU."""

from __future__ import annotations

from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.scenes.throttle import Throttle

_CAUSE = "app-not-accepting"


@entry("app-stopped", "the server is stopped (SIGSTOP)", _CAUSE)
def app_stopped(at: Stage) -> None:
    backlog = at.whole(16, 256)
    web = at.serve(backlog=backlog)
    at.rtt(at.between(0.005, 0.1))
    rate = at.between(20, 150)
    clients = at.visit(web, rate=rate, addresses=3000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    web.stop()
    # Sometimes looked at before the queue is full.
    share = at.pick(0.5, 1.0)
    at.until(lambda: at.queues(web)[1][0] >= share * backlog, "the accept queue fills", 30)


@entry("app-blocked", "the server waits for something else and accepts nobody", _CAUSE)
def app_blocked(at: Stage) -> None:
    backlog = at.whole(8, 128)
    web = at.serve(backlog=backlog, mode="block")
    at.rtt(at.between(0.005, 0.1))
    at.visit(web, rate=at.between(20, 100), addresses=3000)
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full")
    at.wait(at.between(1, 3))


@entry("app-slow", "the server accepts fewer than come", _CAUSE)
def app_slow(at: Stage) -> None:
    backlog = at.whole(16, 128)
    pace = at.between(5, 20)
    web = at.serve(backlog=backlog, mode="slow", rate=pace)
    at.rtt(at.between(0.005, 0.1))
    at.visit(web, rate=pace * at.between(3, 6), addresses=3000)
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full", 30)
    at.wait(at.between(1, 3))


@entry("worker-stuck", "the only worker of a pre-fork server is stuck, its arbiter is fine", _CAUSE)
def worker_stuck(at: Stage) -> None:
    backlog = at.whole(16, 128)
    web = at.serve(backlog=backlog, workers=at.pick(1, 2))
    at.rtt(at.between(0.005, 0.1))
    rate = at.between(20, 100)
    clients = at.visit(web, rate=rate, addresses=3000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    web.stop()
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full", 30)


@entry("member-stuck", "one of four SO_REUSEPORT sockets is stuck", "member-not-accepting")
def member_stuck(at: Stage) -> None:
    backlog = at.whole(8, 48)
    web = at.serve(backlog=backlog, members=4, workers=4)
    at.rtt(at.between(0.005, 0.1))
    rate = at.between(60, 200)
    clients = at.visit(web, rate=rate, addresses=3000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    web.stop(at.pick(0, 1, 2, 3))
    at.until(lambda: max(at.queues(web)[1]) > backlog, "one accept queue is full", 30)


@entry("no-descriptors", "the server has used up its file descriptors", _CAUSE)
def no_descriptors(at: Stage) -> None:
    backlog = at.whole(16, 64)
    web = at.serve(backlog=backlog, nofile=at.whole(20, 60))
    at.rtt(at.between(0.005, 0.1))
    at.visit(web, rate=at.between(20, 60), addresses=3000, then="stay")
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full", 30)


@entry("throttled", "the server's cgroup has used up its CPU quota", _CAUSE)
def throttled(at: Stage) -> None:
    backlog = at.whole(16, 128)
    web = at.serve(backlog=backlog, work=at.whole(10_000, 20_000))
    share = at.between(0.03, 0.08)
    held = Throttle(web.pids, share)
    at.closers.append(held.close)
    at.rtt(at.between(0.005, 0.1))
    at.visit(web, rate=at.between(30, 60), addresses=3000)
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full", 30)
    at.until(lambda: held.throttled > 5, "the kernel throttled it")
