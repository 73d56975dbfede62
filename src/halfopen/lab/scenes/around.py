"""Scenes of what is around TCP: packets that never reach it, and another namespace that is in trouble."""

from __future__ import annotations

from halfopen.core.errors import Unsupported
from halfopen.lab.host import LabHost
from halfopen.lab.scenes.bursts import Bursts
from halfopen.lab.scenes.conntrack import fill
from halfopen.lab.scenes.ground import SERVER_END, run
from halfopen.lab.scenes.programs import App, Serving
from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.wiring import SERVER, Side


@entry("reverse-path", "SYNs of one prefix are dropped by the reverse path filter", "reverse-path-filter")
def reverse_path(at: Stage) -> None:
    # IPv6 has no such setting (firewalls do it there).
    at.family = 4
    web = at.serve(backlog=511)
    at.rtt(at.between(0.01, 0.1))
    rate = at.between(20, 100)
    fine = at.visit(web, rate=rate, addresses=3000)
    ill = at.prefix(16)
    at.until(lambda: fine.connected > 2 * rate, "two seconds of handshakes")
    run(at.server, f"link add other type veth peer name other-end\nlink set other up\nroute add {ill} dev other\n")
    at.server.set_sysctls({f"net.ipv4.conf.{place}.rp_filter": "1" for place in ("all", SERVER.device)})
    lost = at.visit(web, [ill], rate=at.between(10, 50), addresses=500)
    at.until(lambda: at.moved("IPReversePathFilter") > 50 and lost.started > 30, "SYNs were dropped", 30)


@entry("conntrack-full", "the connection tracking table is full: new SYNs are dropped before TCP", "conntrack-full")
def conntrack_full(at: Stage) -> None:
    web = at.serve(backlog=511)
    at.rtt(at.between(0.01, 0.1))
    rate = at.between(20, 100)
    clients = at.visit(web, rate=rate, addresses=3000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    fill(at.server)
    before = clients.connected
    at.wait(3)
    if clients.connected - before > rate:
        raise Unsupported("conntrack", "this kernel makes room in a full table of connections")


@entry("nic-drops", "bursts of packets overflow the queue of a CPU, and handshakes lose packets too", "nic-drops")
def nic_drops(at: Stage) -> None:
    at.family = 4
    web = at.serve(backlog=511)
    at.rtt(at.between(0.01, 0.1))
    rate = at.between(20, 80)
    clients = at.visit(web, rate=rate, addresses=3000)
    at.until(lambda: clients.connected > rate, "a second of handshakes")
    bursts = Bursts(at.server, at.ground.inlet, SERVER_END.mac, at.whole(3000, 5000), at.between(0.15, 0.3))
    at.closers.append(bursts.stop)
    at.until(lambda: at.moved("DeviceRxDropped") > 300, "packets were dropped")


@entry("container", "a container is in trouble while its host is fine", "app-not-accepting")
def container(at: Stage) -> None:
    backlog = at.whole(16, 64)
    web = at.serve(backlog=backlog)
    at.rtt(at.between(0.005, 0.1))
    clients = at.visit(web, rate=at.between(30, 100), addresses=3000)
    host = LabHost("host", Side("lo", "", "127.0.0.1", "::1"))
    at.closers.append(host.close)
    run(host, "link set lo up\n")
    fine = App(host, Serving(22, "0.0.0.0", 128))
    at.closers.append(fine.end)
    at.beside[host.netns_path] = ()
    at.until(lambda: clients.connected > 20, "clients connected")
    web.stop()
    at.until(lambda: at.queues(web)[1][0] > backlog, "the accept queue is full", 30)
