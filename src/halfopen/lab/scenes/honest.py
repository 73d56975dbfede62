"""Scenes in which nothing is wrong: however many and however far, every client gets in."""

from __future__ import annotations

from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.wire.rules import WireRule


@entry("idle", "a server with a client now and then")
def idle(at: Stage) -> None:
    web = at.serve(backlog=at.pick(128, 511, 4096))
    at.rtt(at.between(0.005, 0.2))
    few = at.visit(web, rate=at.between(1, 10), addresses=50)
    at.until(lambda: few.connected > 3, "a client connected")


@entry("busy", "a busy server near its clients")
def busy(at: Stage) -> None:
    web = at.serve(backlog=at.pick(511, 1024, 4096))
    at.rtt(at.between(0.001, 0.04))
    rate = at.between(200, 1000)
    many = at.visit(web, rate=rate, addresses=20_000)
    at.until(lambda: many.connected > 2 * rate, "two seconds of handshakes")


@entry("far-clients", "thousands of honest handshakes at a time, over a long round trip")
def far_clients(at: Stage) -> None:
    at.set(somaxconn=16_384)
    web = at.serve(backlog=at.pick(4096, 16_384))
    rtt = at.between(0.45, 0.75)
    at.rtt(rtt, spread_s=0.1)
    rate = at.between(500, 2200)
    many = at.visit(web, rate=rate, addresses=50_000)
    at.until(lambda: many.connected > 3 * rate, "three seconds of handshakes", 40)


@entry("flash-crowd", "ten times as many clients as a moment ago, all honest")
def flash_crowd(at: Stage) -> None:
    web = at.serve(backlog=4096)
    at.rtt(at.between(0.03, 0.2), spread_s=0.1)
    usual = at.between(20, 80)
    before = at.visit(web, rate=usual, addresses=5000)
    at.until(lambda: before.connected > 3 * usual, "three seconds of the usual clients")
    rate = usual * at.between(8, 15)
    crowd = at.visit(web, rate=rate, addresses=20_000)
    enough = at.between(0.5, 2) * rate
    at.until(lambda: crowd.connected > enough, "the crowd is here")


@entry("behind-proxy", "every client comes through one address, one in a hundred late")
def behind_proxy(at: Stage) -> None:
    web = at.serve(backlog=at.pick(1024, 4096))
    at.rtt(at.between(0.005, 0.04))
    at.wire.add(WireRule("out", "synack", loss=at.between(0.01, 0.02)))
    rate = at.between(150, 450)
    proxy = at.visit(web, rate=rate, addresses=1)
    at.until(lambda: proxy.connected > 6 * rate, "six seconds through the proxy", 40)


@entry("recovered", "trouble that is over: the server was stopped for a while and goes on")
def recovered(at: Stage) -> None:
    web = at.serve(backlog=at.whole(16, 64))
    at.rtt(at.between(0.005, 0.05))
    rate = at.between(30, 100)
    clients = at.visit(web, rate=rate, addresses=2000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    web.stop()
    at.until(lambda: at.moved("ListenOverflows") > 10, "clients were turned away")
    web.go_on()
    at.until(lambda: at.queues(web)[1] == (0,), "the queue is empty again")
    # Clients that were turned away ask again for a few seconds.
    at.wait(at.between(4, 8))
