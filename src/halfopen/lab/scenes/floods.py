"""Scenes of SYNs without a following ACK: floods of every kind, and a scan."""

from __future__ import annotations

from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage

_LONG = ("release-time-long",)


@entry("flood", "a SYN flood from spoofed addresses, with room to spare", "spoofed-flood", also=_LONG)
def flood(at: Stage) -> None:
    at.set(somaxconn=65_536)
    web = at.serve(backlog=at.pick(16_384, 65_536))
    rate = at.between(200, 2500)
    sent = at.silent(web, "spoofed", rate)
    enough = at.between(3, 5) * rate
    at.until(lambda: sent.sent > enough, "seconds of the flood")


@entry("flood-over", "a SYN flood whose last SYN came seconds ago", "spoofed-flood", also=_LONG)
def flood_over(at: Stage) -> None:
    at.set(somaxconn=65_536)
    web = at.serve(backlog=at.pick(16_384, 65_536))
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(5, 40), addresses=500)
    rate = at.between(100, 2000)
    sent = at.silent(web, "spoofed", rate)
    enough = at.between(3, 5) * rate
    at.until(lambda: sent.sent > enough, "seconds of the flood")
    sent.stop()
    at.wait(at.between(1.5, 8))


@entry("flood-cookies", "a SYN flood over a full queue, new clients let in by SYN cookies", "spoofed-flood", also=_LONG)
def flood_cookies(at: Stage) -> None:
    web = at.serve(backlog=at.whole(64, 512))
    sent = at.silent(web, "spoofed", at.between(300, 3000))
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(2, 10), addresses=100)
    at.until(lambda: at.moved("SyncookiesSent") > 500 and sent.sent > 1000, "cookies were sent")


@entry("flood-no-cookies", "a SYN flood with SYN cookies off", "spoofed-flood", "cookies-off", also=_LONG)
def flood_no_cookies(at: Stage) -> None:
    at.set(tcp_syncookies=0)
    web = at.serve(backlog=at.whole(128, 512))
    sent = at.silent(web, "spoofed", at.between(200, 2000))
    at.until(lambda: at.moved("ListenDrops") > 200 and sent.sent > 500, "SYNs were dropped")


@entry("flood-beside", "a SYN flood beside honest clients", "spoofed-flood", also=_LONG)
def flood_beside(at: Stage) -> None:
    at.set(somaxconn=32_768)
    web = at.serve(backlog=at.pick(1024, 32_768))
    at.rtt(at.between(0.02, 0.15), spread_s=0.05)
    rate = at.between(50, 300)
    honest = at.visit(web, rate=rate, addresses=5000)
    at.until(lambda: honest.connected > rate, "a second of handshakes")
    fast = at.between(3, 10) * rate
    sent = at.silent(web, "spoofed", fast)
    at.until(lambda: sent.sent > 3 * fast, "three seconds of the flood")


@entry("flood-few", "SYNs from a few addresses that never answer", "few-sources-flood", also=_LONG)
def flood_few(at: Stage) -> None:
    at.set(somaxconn=16_384)
    web = at.serve(backlog=at.pick(1024, 16_384))
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(5, 40), addresses=500)
    # Hosts here and there, not neighbours.
    hosts = tuple(at.prefix(32, 128, hostile=True) for _ in range(at.whole(1, 6)))
    rate = at.between(30, 600)
    sent = at.silent(web, "few", rate, hosts)
    enough = at.between(4, 6) * rate
    at.until(lambda: sent.sent > enough, "seconds of the flood")


@entry("flood-prefix", "SYNs from all over one prefix, whose hosts never answer", "prefix-flood", also=_LONG)
def flood_prefix(at: Stage) -> None:
    at.set(somaxconn=16_384)
    web = at.serve(backlog=at.pick(1024, 16_384))
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(5, 40), addresses=500)
    bits = at.pick(16, 24)
    prefix = at.prefix(bits, 64 if bits == 24 else 48, hostile=True)
    rate = at.between(50, 800)
    sent = at.silent(web, "prefix", rate, (prefix,), 200 if bits == 24 else 3000)
    enough = at.between(4, 6) * rate
    at.until(lambda: sent.sent > enough, "seconds of the flood")


@entry(
    "flood-acked",
    "a few hosts acknowledge every SYN-ACK of a deferring listener and send nothing",
    "acked-flood",
    also=("deferred-accept", *_LONG),
)
def flood_acked(at: Stage) -> None:
    at.set(somaxconn=16_384)
    waits_s = at.pick(1, 2, 3)
    # In a queue more than half full the kernel drops such requests before their time is up.
    web = at.serve(backlog=at.pick(8192, 16_384), defer_s=waits_s)
    at.rtt(at.between(0.01, 0.1))
    at.visit(web, rate=at.between(5, 40), addresses=500)
    hosts = tuple(at.prefix(32, 128, hostile=True) for _ in range(at.whole(1, 3)))
    each = at.between(30, 80)
    rate = each * len(hosts)
    sent = at.acking(web, rate, hosts)
    at.until(lambda: sent.acked > rate, "a second of acknowledgements")
    # Longer than the listener waits for data: by then every real client has been accepted.
    at.wait(waits_s + at.between(6, 8))


@entry("scan", "one address tries every port, and resets what answers", "scan")
def scan(at: Stage) -> None:
    apps = [at.serve(backlog=128) for _ in range(at.whole(5, 10))]
    at.rtt(at.between(0.02, 0.2))
    at.visit(apps[0], rate=at.between(5, 20), addresses=200)
    rate = at.between(100, 600)
    ports = [app.port for app in apps] + at.rng.sample(range(30_000, 60_000), 5 * len(apps))
    sent = at.scan(at.prefix(32, 128), rate, ports)
    at.until(lambda: sent.sent > 4 * rate, "four seconds of the scan")
