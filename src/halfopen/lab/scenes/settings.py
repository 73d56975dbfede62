"""Scenes of a backlog, a setting or a listener option that turns honest clients away, or costs too much."""

from __future__ import annotations

from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.wire.rules import WireRule

_DROPS = "clients were turned away"


def _bursts(at: Stage, backlog: int) -> None:
    """Honest clients that come together, more of them than the queues hold."""
    web = at.serve(backlog=backlog)
    at.rtt(at.between(0.06, 0.2))
    size = at.whole(40, 120)
    at.visit(web, burst=size, every_s=at.between(0.8, 1.5), addresses=5000)


@entry("backlog-tiny", "bursts of honest clients meet a backlog of a few", "backlog-small", also=("cookies-sent",))
def backlog_tiny(at: Stage) -> None:
    _bursts(at, at.whole(2, 10))
    at.until(lambda: at.moved("TCPReqQFullDoCookies") > 60, "the SYN queue overflowed")


@entry("backlog-zero", "a backlog of 0, with SYN cookies off", "backlog-small", "cookies-off")
def backlog_zero(at: Stage) -> None:
    at.set(tcp_syncookies=0)
    _bursts(at, 0)
    at.until(lambda: at.moved("ListenDrops") > 40, _DROPS)


@entry("somaxconn-clamp", "somaxconn cuts every backlog short", "somaxconn-clamp", also=("backlog-small",))
def somaxconn_clamp(at: Stage) -> None:
    at.set(somaxconn=at.pick(4, 8, 16))
    at.serve(backlog=at.pick(511, 1024))
    _bursts(at, at.pick(1024, 4096))
    at.until(lambda: at.moved("TCPReqQFullDoCookies") > 60, "the SYN queue overflowed")


@entry("cookies-off", "SYN cookies are off and honest clients fill the queue", "cookies-off", "backlog-small")
def cookies_off(at: Stage) -> None:
    at.set(tcp_syncookies=0, tcp_max_syn_backlog=4096)
    web = at.serve(backlog=at.whole(16, 64))
    at.rtt(at.between(0.3, 0.6))
    at.visit(web, rate=at.between(250, 500), addresses=60_000)
    at.until(lambda: at.moved("ListenDrops") > 200, _DROPS)


@entry(
    "syn-backlog-reserve",
    "the last quarter of tcp_max_syn_backlog is kept back, with SYN cookies off",
    *("syn-backlog-reserve", "cookies-off"),
)
def syn_backlog_reserve(at: Stage) -> None:
    at.set(tcp_syncookies=0, tcp_max_syn_backlog=at.pick(64, 128))
    web = at.serve(backlog=at.pick(512, 1024))
    at.rtt(at.between(0.4, 0.7))
    at.visit(web, rate=at.between(300, 500), addresses=60_000)
    at.until(lambda: at.moved("ListenDrops") > 200, _DROPS)


@entry("cookies-always", "every handshake is answered by a SYN cookie (tcp_syncookies = 2)", "cookies-always")
def cookies_always(at: Stage) -> None:
    at.set(tcp_syncookies=2)
    at.ground.client.set_sysctl("net.ipv4.tcp_timestamps", at.pick(0, 1))
    web = at.serve(backlog=at.pick(511, 4096))
    at.rtt(at.between(0.01, 0.1))
    rate = at.between(50, 300)
    clients = at.visit(web, rate=rate, addresses=5000)
    at.until(lambda: clients.connected > 3 * rate, "three seconds of handshakes")


@entry("release-time-long", "clients that vanish stay half-open for many minutes", "release-time-long")
def release_time_long(at: Stage) -> None:
    at.set(tcp_synack_retries=at.pick(8, 9, 10))
    web = at.serve(backlog=4096)
    at.rtt(at.between(0.01, 0.1))
    away = at.prefix(16, 48)
    at.wire.add(WireRule("out", client=away, loss=1))
    rate = at.between(60, 200)
    honest = at.visit(web, rate=rate, addresses=5000)
    # People who walk out of reach: one SYN each, then nothing.
    at.visit(web, [away], rate=rate * at.between(0.03, 0.06), addresses=60_000, give_up_s=0.8, honest=False)
    at.until(lambda: honest.connected > 12 * rate, "twelve seconds of handshakes", 40)


# Some of those far away get in at the second attempt: late, as on any slow path.
@entry(
    "release-time-short",
    "tcp_synack_retries = 0 gives up before far clients can answer",
    *("release-time-short",),
    also=("slow-path",),
)
def release_time_short(at: Stage) -> None:
    at.set(tcp_synack_retries=0)
    web = at.serve(backlog=at.pick(1024, 4096))
    at.rtt(0.03)
    far = at.prefix(16, 48)
    at.rtt(at.between(1.3, 1.9), client=far)
    at.visit(web, rate=at.between(30, 100), addresses=2000)
    lost = at.visit(web, [far], rate=at.between(15, 60), addresses=2000)
    at.until(lambda: lost.started > 60, "far clients tried", 40)
    at.wait(at.between(4, 6))


@entry("deferred", "clients that finished and say nothing, on a deferring listener", "deferred-accept")
def deferred(at: Stage) -> None:
    web = at.serve(backlog=at.pick(511, 4096), defer_s=at.pick(30, 60))
    at.rtt(at.between(0.01, 0.1))
    rate = at.between(20, 100)
    mute = at.visit(web, rate=rate, addresses=5000, then="silent")
    enough = at.between(3, 5) * rate
    at.until(lambda: mute.connected > enough, "silent clients are connected")


@entry("deferred-vanished", "clients that finished on a deferring listener, and have vanished", "deferred-accept")
def deferred_vanished(at: Stage) -> None:
    web = at.serve(backlog=at.pick(511, 4096), defer_s=at.pick(5, 10))
    at.rtt(at.between(0.01, 0.1))
    n = at.whole(60, 300)
    mute = at.visit(web, burst=n, count=n, every_s=600, addresses=5000, then="silent")
    # At the server: the last ACK of a client that is connected may still be on the wire.
    at.until(lambda: mute.connected >= n <= at.moved("TCPDeferAcceptDrop"), "silent clients are connected")
    at.wire.add(WireRule("both", client=mute.want.prefixes[0], loss=1))
    at.wait(at.between(3, 10))


@entry("deferred-full", "silent clients fill the SYN queue of a deferring listener", "deferred-accept")
def deferred_full(at: Stage) -> None:
    at.set(tcp_syncookies=at.pick(0, 1))
    backlog = at.whole(32, 128)
    web = at.serve(backlog=backlog, defer_s=at.pick(30, 60))
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(20, 80), addresses=3000)
    at.visit(web, rate=at.between(20, 60), addresses=5000, then="silent")
    at.until(lambda: at.half_open() >= backlog, "silent clients fill the queue")
    at.until(lambda: at.moved("TCPReqQFullDoCookies") + at.moved("TCPReqQFullDrop") > 20, "clients met it full")


@entry(
    "timewait-reopen",
    "old connections are opened anew past the cap of the SYN queue",
    *("timewait-reopen", "synacks-lost"),
    also=("backlog-small",),
)
def timewait_reopen(at: Stage) -> None:
    web = at.serve(backlog=4, mode="farewell")
    at.rtt(0.02)
    source = at.prefix(32, 128)
    n, first = at.whole(40, 120), at.pick(20_000, 40_000)
    before = at.visit(web, [source], rate=60, count=n, addresses=1, then="silent", stay_s=30, from_port=first)
    at.until(lambda: before.connected == n == sum(web.accepted), "all have come and gone")
    at.wait(1.5)
    at.wire.add(WireRule("out", "any", client=source, loss=1))
    again = at.visit(web, [source], rate=200, count=n, addresses=1, from_port=first, give_up_s=60, honest=False)
    at.until(lambda: again.started == n, "all have asked again")
    # One SYN each: what comes later never arrives.
    at.wire.add(WireRule("in", "any", client=source, loss=1))
    at.until(lambda: at.half_open() > 8, "the cap is passed")


@entry(
    "abort-on-overflow",
    "tcp_abort_on_overflow resets clients that a slow server has no room for",
    *("abort-on-overflow", "app-not-accepting"),
    also=("backlog-small",),
)
def abort_on_overflow(at: Stage) -> None:
    at.set(tcp_abort_on_overflow=1)
    backlog = at.whole(8, 32)
    pace = at.between(5, 20)
    web = at.serve(backlog=backlog, mode="slow", rate=pace)
    at.rtt(at.between(0.06, 0.2))
    at.visit(web, burst=at.whole(40, 100), every_s=1.0, addresses=3000)
    at.until(lambda: at.moved("ListenOverflows") > 20 < at.moved("OutRsts"), "clients were reset")


@entry("health-checks-reset", "a load balancer's checks reset before the handshake ends", "health-checks")
def health_checks_reset(at: Stage) -> None:
    web = at.serve(backlog=at.pick(128, 511))
    at.rtt(at.between(0.001, 0.02))
    rate = at.between(20, 80)
    honest = at.visit(web, rate=rate, addresses=3000)
    at.scan(at.prefix(32, 128), at.between(2, 20), [web.port])
    at.until(lambda: at.moved("EmbryonicRsts") > 10 and honest.connected > 3 * rate, "checks were reset")


@entry(
    "health-checks-silent",
    "a load balancer's checks stay silent on a deferring listener",
    "health-checks",
    "deferred-accept",
)
def health_checks_silent(at: Stage) -> None:
    web = at.serve(backlog=511, defer_s=at.pick(5, 10))
    at.rtt(at.between(0.001, 0.02))
    at.visit(web, rate=at.between(20, 80), addresses=3000)
    source = at.prefix(32, 128)
    checks = at.visit(web, [source], rate=at.between(2, 8), addresses=1, then="silent", stay_s=4.0)
    at.until(lambda: checks.connected > 15, "checks were made")
