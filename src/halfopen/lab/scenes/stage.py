"""The stage of a scene: the hosts, the programs and clients on them, the numbers drawn, and the truth."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import numpy as np
from msgspec.structs import replace

from halfopen.core.errors import LabError
from halfopen.lab import requests
from halfopen.lab.frames import Path
from halfopen.lab.raw_host import RawHost
from halfopen.lab.scenes import raw
from halfopen.lab.scenes.acking import Acking
from halfopen.lab.scenes.app import packed
from halfopen.lab.scenes.ground import SERVER_END, Ground
from halfopen.lab.scenes.programs import App, Clients, Serving, Visiting
from halfopen.lab.scenes.truth import Served, Silent, Stream, Truth
from halfopen.lab.wire.rules import WireRule
from halfopen.lab.wiring import CLIENT, SERVER

T = TypeVar("T")
_POLL_S: Final = 0.05
_READY_S: Final = 40.0
_PORTS: Final = (22, 25, 80, 110, 143, 443, 465, 587, 993, 1883, 3306, 5060, 5432, 6379, 8080, 8443, 9000, 9735, 27017)
# Hostile prefixes are drawn from here, never from real clients' addresses.
_HOSTILE_V4: Final = "172.16.0.0/12"
_HOSTILE_V6: Final = "2001:db8:6600::/40"


def _kernel_counters() -> dict[str, int]:
    # Not by the product's own reader, as that is what the scenes test.
    with open("/proc/thread-self/net/dev", encoding="ascii") as f:
        devices = [line.partition(":")[2].split() for line in f if ":" in line]
    made = {"DeviceRxDropped": sum(int(columns[3]) for columns in devices)}
    for name in ("snmp", "netstat"):
        with open(f"/proc/thread-self/net/{name}", encoding="ascii") as f:
            lines = f.read().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            made |= dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return made


class Stage:
    """A server and a client with a wire, and the operations that scenes are made of. Random numbers come from
    `seed`.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.rng = random.Random(f"{name} {seed}")  # noqa: S311 - it must be repeatable
        self.family = self.rng.choice((4, 4, 6, "mapped"))
        self.causes: tuple[str, ...] = ()
        self.also: tuple[str, ...] = ()
        self.apps: list[App] = []
        self.clients: list[Clients] = []
        self.raws: list[tuple[raw.Raw, str, tuple[int, ...], tuple[str, ...]]] = []
        self.closers: list[Callable[[], None]] = []
        self.settings: dict[str, str] = {}
        # Other namespaces to look at, with the causes that are right there.
        self.beside: dict[str, tuple[str, ...]] = {}
        self._ports = list(_PORTS)
        self._taken: set[tuple[bool, int]] = set()
        self.ground = Ground(seed)
        self.server, self.wire = self.ground.server, self.ground.wire
        self._begun = self.counters()
        self.ready_at = time.monotonic()

    # --- what is drawn

    def between(self, low: float, high: float) -> float:
        """A number between two, each order of magnitude as likely as the next."""
        return float(low * (high / low) ** self.rng.random())

    def whole(self, low: int, high: int) -> int:
        """A whole number between two, as `between`."""
        return round(self.between(low, high))

    def pick(self, *choices: T) -> T:
        """One of several."""
        return self.rng.choice(choices)

    def port(self) -> int:
        """A port that the scene has not used yet."""
        return self._ports.pop(self.rng.randrange(len(self._ports)))

    def prefix(self, bits4: int = 16, bits6: int = 48, *, hostile: bool = False) -> str:
        """A prefix of real clients' addresses, or of addresses that nobody answers for; never the same twice."""
        v6 = self.family == 6
        home = (_HOSTILE_V6 if v6 else _HOSTILE_V4) if hostile else ("2001:db8:77::/48" if v6 else "10.64.0.0/10")
        net = ipaddress.ip_network(home)
        # At least a sixteenth apart, so that prefixes never overlap.
        places = [k for k in range(16) if (hostile, k) not in self._taken]
        k = self.rng.choice(places)
        self._taken.add((hostile, k))
        bits = max(bits6 if v6 else bits4, net.prefixlen + 4)
        part = int(net.network_address) + (k << (net.max_prefixlen - net.prefixlen - 4))
        part += self.rng.randrange(1 << (bits - net.prefixlen - 4)) << (net.max_prefixlen - bits)
        return str(ipaddress.ip_network((part, bits)))

    # --- what is put on the stage

    def serve(self, *, backlog: int, **options: Any) -> App:
        """A server program on a port of its own; options as `Serving` has them."""
        wildcard = self.pick(True, False)
        own = {4: SERVER.v4, 6: SERVER.v6, "mapped": "::"}[self.family]
        address = {4: "0.0.0.0", 6: "::", "mapped": "::"}[self.family] if wildcard else own
        app = App(self.server, Serving(self.port(), address, backlog, **options))
        self.apps.append(app)
        return app

    @property
    def target(self) -> str:
        """The server's address as clients have it."""
        return SERVER.v6 if self.family == 6 else SERVER.v4

    def visit(self, app: App, prefixes: list[str] | None = None, **options: Any) -> Clients:
        """Real clients, from a prefix that is drawn unless given; options as `Visiting` has them."""
        want = Visiting(tuple(prefixes or [self.prefix()]), **options)
        clients = Clients(self.ground.client, want, self.target, app.port, self.rng.randrange(2**31))
        self.clients.append(clients)
        return clients

    def rtt(self, seconds: float, *, spread_s: float = 0.0, client: str | None = None) -> None:
        """Give all clients, or those of a prefix, this round-trip time, half of it each way."""
        self.wire.add(WireRule(client=client, delay_s=seconds / 2, spread_s=spread_s / 2, jitter_s=seconds / 20))

    def silent(self, app: App, kind: str, rate: float, prefixes: tuple[str, ...] = (), addresses: int = 1) -> raw.Raw:
        """SYNs without a following ACK, sent straight to the server. kind: "spoofed", "few" or "prefix"."""
        draw = raw.within(list(prefixes), addresses) if prefixes else raw.spoofed(self.family == 6)
        return self._send(self.ground.inlet, SERVER_END.mac, draw, kind, rate, (app.port,), prefixes)

    def acking(self, app: App, rate: float, hosts: tuple[str, ...]) -> Acking:
        """SYNs whose SYN-ACKs are acknowledged by hosts that say nothing more, straight to the server."""
        path = Path(SERVER_END.mac, SERVER.mac, self.target, app.port)
        draw, home = raw.within(list(hosts), 1), _HOSTILE_V6 if self.family == 6 else _HOSTILE_V4
        seed = self.rng.randrange(2**31)
        sent = Acking(home, self.ground.inlet, path, draw, rate, raw.MAX_S, [app.port], seed)
        self.raws.append((sent, "acked", (app.port,), hosts))
        return sent

    def scan(self, source: str, rate: float, ports: list[int]) -> raw.Raw:
        """SYNs from a real address, whose kernel answers SYN-ACKs with a RST, to many ports."""
        draw = raw.within([source], 1)
        return self._send(self.ground.client, CLIENT.mac, draw, "scan", rate, tuple(ports), (source,))

    def _send(
        self,
        host: RawHost,
        mac: str,
        draw: raw.Draw,
        kind: str,
        rate: float,
        ports: tuple[int, ...],
        of: tuple[str, ...],
    ) -> raw.Raw:
        path = Path(mac, SERVER.mac, self.target, ports[0])
        sent = raw.Raw(host, path, draw, rate, raw.MAX_S, list(ports), self.rng.randrange(2**31))
        self.raws.append((sent, kind, ports, of))
        return sent

    def set(self, **values: object) -> None:
        """Change settings of the server by their last name: tcp_syncookies=0, somaxconn=128."""
        for key, value in values.items():
            place = "net.core" if key == "somaxconn" else "net.ipv4"
            self.server.set_sysctl(f"{place}.{key}", value)
            self.settings[key] = str(value)

    # --- what is true

    def counters(self) -> dict[str, int]:
        """Every counter of /proc/net/netstat and snmp of the server, and as DeviceRxDropped the packets that its
        devices, or a CPU's queue behind them, dropped.
        """
        return self.server.run(_kernel_counters)

    def moved(self, name: str) -> int:
        """How far a counter of the server's kernel has moved since the scene began."""
        return self.counters().get(name, 0) - self._begun.get(name, 0)

    def half_open(self) -> int:
        """How many request sockets the server's kernel holds."""
        return len(requests.held(self.server))

    def queues(self, app: App) -> tuple[int, tuple[int, ...]]:
        """The cap of an app's accept queue, and how long each member's is."""
        found = [row.split()[1:3] for row in self._ss("-Hltn", "sport", "=", f":{app.port}")]
        return max((int(cap) for _, cap in found), default=0), tuple(int(length) for length, _ in found)

    def _ss(self, *words: str) -> list[str]:
        """What `ss` prints on the server, by lines. Scenes poll it, so that no child of the lab stands between."""
        done = self.server.set_up(["ss", *words])
        if done.returncode:
            raise LabError(f"ss failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return done.stdout.splitlines()

    def until(self, true: Callable[[], bool], what: str, within_s: float = _READY_S) -> None:
        """Wait until something is true. Raises: LabError that names it when it is not in time."""
        deadline = time.monotonic() + within_s
        while not true():
            if time.monotonic() > deadline:
                raise LabError(f"scene {self.name}, seed {self.seed}: {what} did not come true in {within_s:g} s")
            time.sleep(_POLL_S)

    def wait(self, seconds: float) -> None:
        """Let the scene run for this long, so that there is a history to see."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def _with_finished(self, streams: list[Stream], waiting: bool) -> tuple[Stream, ...]:
        """The streams with connections that the server accepted, or that wait in an accept queue, by prefix."""
        found = self._finished(b"".join(app.peers() for app in self.apps) + (self._waiting() if waiting else b""))
        return tuple(replace(one, prefixes={prefix: found[prefix] for prefix in one.prefixes}) for one in streams)

    def _finished(self, peers: bytes) -> dict[str, int]:
        rows = np.frombuffer(peers, dtype=">u8").reshape(-1, 2)
        found = {}
        for prefix in {p for clients in self.clients for p in clients.want.prefixes}:
            net = ipaddress.ip_network(prefix)
            first = int(net.network_address) + (0 if net.version == 6 else 0xFFFF << 32)
            last = first + net.num_addresses - 1
            low, high = (np.uint64(first & (2**64 - 1)), np.uint64(last & (2**64 - 1)))
            mine = (rows[:, 0] == np.uint64(first >> 64)) & (rows[:, 1] >= low) & (rows[:, 1] <= high)
            if net.prefixlen < 64 and net.version == 6:
                mine = (rows[:, 0] >= np.uint64(first >> 64)) & (rows[:, 0] <= np.uint64(last >> 64))
            found[prefix] = int(mine.sum())
        return found

    def _waiting(self) -> bytes:
        """The addresses of connections that were not accepted yet: their inode is 0."""
        rows = self._ss("-Htne", "state", "established", "state", "close-wait")
        waiting = [row.split() for row in rows if " ino:0 " in row]
        # State, receive and send queue, local, peer.
        return b"".join(packed(row[4].rpartition(":")[0].strip("[]")) for row in waiting)

    def ready(self) -> None:
        """Mark the moment from which there is something to see."""
        self.ready_at = time.monotonic()

    def truth(self) -> Truth:
        """The truth now, measured."""
        # Read the handshakes that began before those that finished, so that a client that finishes in between does not
        # seem to have failed.
        began = [clients.truth() for clients in self.clients]
        now, begun = self.counters(), self._begun
        served = []
        for app in self.apps:
            cap, lengths = self.queues(app)
            served.append(Served(app.want.address, app.port, tuple(app.pids), app.accepted, cap, lengths))
        return Truth(
            *(self.name, self.seed, self.causes, self.also, time.monotonic() - self.ready_at),
            streams=self._with_finished(began, any(n for one in served for n in one.queue)),
            silent=tuple(Silent(kind, ports, of, sent.sent) for sent, kind, ports, of in self.raws),
            served=tuple(served),
            counters={k: v - begun.get(k, 0) for k, v in now.items() if v != begun.get(k, 0)},
            settings=dict(self.settings),
            half_open=self.half_open(),
            wire_late_s=self.wire.late_s,
            wire_refused=self.wire.refused,
        )

    def close(self) -> None:
        """End everything that was put on the stage, and the ground."""
        for closer in reversed(self.closers):
            closer()
        for sent, *_ in self.raws:
            sent.stop()
        for program in [*self.clients, *self.apps]:
            program.end()
        self.ground.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
