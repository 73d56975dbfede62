"""The guard beside the kernel's own defences: honest clients under a flood, a receiving core at its limit, CPU a SYN.

Alone: python bench/run.py --only protect [--quick]

Honest clients are sockets of a kernel that connect, send a byte and wait for the answer; the wire has no delay, so a
client is *immediate* when the answer is there within 250 ms: no SYN, ACK or byte of it was lost on the way. SYN-ACKs to
forged addresses are dropped where they arrive, in every row alike.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import forging
import guarded
import napi
import numpy as np
import syn_cost

from halfopen.lab import Lab, LabListener
from halfopen.lab.flood import path_to
from halfopen.lab.sources import FLOOD
from halfopen.linux.netns import run_in

PORT: Final = 8080
BACKLOG: Final = 4096
CLIENTS_PER_S: Final = 300
IMMEDIATE_S, WITHIN_S, DONE_S = 0.25, 1.3, 6.0
COOKIES: Final = "net.ipv4.tcp_syncookies"
SYNACK: Final = "net.ipv4.tcp_synack_retries"
_DROP: Final = "table netdev t {{ chain c {{ type filter hook ingress device {} priority 0; {} drop; }}; }}"
_FRAMES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Defence:
    """A row: what stands between the flood and the clients. timestamps: whether the clients send them."""

    name: str
    cookies: int = 1
    retries: int = 5
    share: float | None = None
    release: bool = False
    timestamps: bool = True


DEFENCES: Final = (
    Defence("cookies off", 0),
    Defence("cookies off, synack_retries = 2", 0, 2),
    Defence("cookies off, watch --release-older-than 1s", 0, release=True),
    Defence("cookies = 1"),
    Defence("cookies = 1, clients without timestamps", timestamps=False),
    Defence("cookies = 2", 2),
    Defence("protect --at 25%", share=0.25),
    Defence("protect --at 25%, clients without timestamps", share=0.25, timestamps=False),
)


# What one core of the machine that this was written on takes in by the guard, but not by the kernel's cookies.
WANTED_PER_S: Final = 500_000
SATURATED: Final = ("cookies = 1", "protect --at 25%")


@dataclass(slots=True)
class Served:
    """How honest clients fared: how many there were, answered within each of the three times, with window scaling; the
    SYNs a second that came in."""

    name: str
    rate: int
    clients: int
    immediate: int
    within: int
    done: int
    scaled: int
    took_in_per_s: float


@dataclass(slots=True)
class Saturated:
    """The same where one core takes all packets in: packets a second that it took in, how busy it was with them, and
    with anything else that ran on the machine (shares of the core)."""

    served: Served
    taken_per_s: float
    busy: float
    others: float

    @property
    def packet_us(self) -> float:
        """CPU time of the core for one packet."""
        return self.busy / self.taken_per_s * 1e6 if self.taken_per_s else 0.0


# --- honest clients ---------------------------------------------------------------------------------------------------


def _clients(target: str, seconds: float, rate: int, out: int) -> None:
    """Connect so many a second, ask each for an answer, and write how long each took, and its options, to `out`."""
    begun, started = time.monotonic(), 0
    waiting: dict[int, tuple[socket.socket, float]] = {}
    took: list[tuple[float, int]] = []
    with select.epoll() as poll:
        while (now := time.monotonic()) < begun + seconds + DONE_S and (waiting or now < begun + seconds):
            while now < begun + seconds and started < (now - begun) * rate:
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((target, PORT))
                waiting[s.fileno()] = s, time.monotonic()
                poll.register(s, select.EPOLLOUT)
                started += 1
            for fd, event in poll.poll(0.002):
                s, at = waiting[fd]
                if event & select.EPOLLOUT and not event & (select.EPOLLHUP | select.EPOLLERR):
                    s.send(b"?")
                    poll.modify(fd, select.EPOLLIN)
                    continue
                options = s.getsockopt(socket.IPPROTO_TCP, 11, 104)[5]
                if not event & (select.EPOLLHUP | select.EPOLLERR):
                    took.append((time.monotonic() - at, options))
                poll.unregister(fd)
                del waiting[fd]
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
    os.write(out, json.dumps({"started": started, "took": took}).encode())


def _honest(lab: Lab, seconds: float, rate: int) -> dict[str, Any]:
    """`_clients` in a process of its own, so that they do not wait for the sender of the flood."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            run_in(lab.client.netns_fd, lambda: _clients(lab.server.v4, seconds, rate, write))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads(text or '{"started": 0, "took": []}')
    return found


# --- the flood --------------------------------------------------------------------------------------------------------


def _flood(lab: Lab, frames: Any, rate: int | None, until: threading.Event) -> int:
    """Send SYNs, `rate` a second or as fast as it goes, until told; how many."""
    sent, begun = 0, time.monotonic()
    with lab.client.sender() as sender:
        while not until.is_set():
            if rate is not None and sent > (time.monotonic() - begun) * rate:
                time.sleep(0.0005)
                continue
            at = sent % _FRAMES
            sender.send_once(frames[at : at + 256])
            sent += 256
    return sent


def _frames(lab: Lab) -> Any:
    pool = FLOOD["spoofed"]
    source, port = pool.pair(np.arange(_FRAMES, dtype=np.uint64), False)
    return path_to(lab.server.v4, PORT).syns(source, port, np.arange(_FRAMES, dtype=np.uint32) * 977, 1)


@contextmanager
def _flooding(lab: Lab, rate: int | None) -> Iterator[list[float]]:
    """A flood meanwhile, from a process of its own; gives a list that holds the SYNs a second it sent, at the end."""
    frames, told = _frames(lab), []
    read, write = os.pipe()
    stop_read, stop_write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(stop_write)
            over = threading.Event()
            threading.Thread(target=lambda: (os.read(stop_read, 1), over.set()), daemon=True).start()
            begun = time.monotonic()
            sent = _flood(lab, frames, rate, over)
            os.write(write, str(sent / (time.monotonic() - begun)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.close(stop_read)
    try:
        yield told
    finally:
        os.close(stop_write)
        with os.fdopen(read) as f:
            told.append(float(f.read() or 0))
        os.waitpid(pid, 0)


# --- what is measured -------------------------------------------------------------------------------------------------


@contextmanager
def _lab(listener_backlog: int = BACKLOG) -> Iterator[tuple[Lab, LabListener]]:
    with Lab() as lab:
        # As the far side of a forged address would: nobody there answers.
        rule = _DROP.format(lab.client.device, "ip daddr 198.18.0.0/15")
        lab.client.exec(["nft", rule], check=True)
        yield lab, lab.server.listen(PORT, backlog=listener_backlog, other_process=True)


@contextmanager
def _defended(lab: Lab, how: Defence) -> Iterator[None]:
    lab.server.set_sysctls({COOKIES: str(how.cookies), SYNACK: str(how.retries)})
    lab.client.set_sysctl("net.ipv4.tcp_timestamps", int(how.timestamps))
    with ExitStack() as stack:
        if how.share is not None:
            stack.enter_context(_guard(lab, f"{how.share:.0%}"))
        if how.release:
            words = ["watch", "--release-older-than", "1s", "--interval", "200ms"]
            stack.enter_context(_command(lab, *words))
        yield


@contextmanager
def _guard(lab: Lab, share: str) -> Iterator[None]:
    with _command(lab, "protect", f":{PORT}", "--at", share) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


@contextmanager
def _command(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "halfopen", *words, "--netns", lab.server.netns_path, "--audit-log", "/dev/null"]
    src = str(Path(__file__).resolve().parent.parent / "src")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": src}
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def served(how: Defence, rate: int, seconds: float) -> Served:
    """How honest clients fare behind a defence while so many SYNs a second come."""
    with _lab() as (lab, _), _defended(lab, how), _flooding(lab, rate) as told:
        time.sleep(1.5)  # the queue is full by then
        found = _honest(lab, seconds, CLIENTS_PER_S)
    return _counted(how.name, rate, found, told[0])


def _counted(name: str, rate: int, found: dict[str, Any], took_in: float) -> Served:
    took = [one for one, _ in found["took"]]
    within = [sum(one <= limit for one in took) for limit in (IMMEDIATE_S, WITHIN_S, DONE_S)]
    # Of those that are done: a connection that failed later has options as well.
    scaled = sum(bool(options & 4) for seconds, options in found["took"] if seconds <= DONE_S)
    return Served(name, rate, found["started"], *within, scaled, took_in)


def saturated(how: Defence, seconds: float) -> Saturated:
    """How honest clients fare while SYNs come as fast as one core can send them to another that takes them in."""
    with ExitStack() as stack:
        lab, _ = stack.enter_context(_lab())
        stack.enter_context(_defended(lab, how))
        core = stack.enter_context(napi.on_a_core_of_its_own(lab))
        with _flooding(lab, None) as told:
            time.sleep(1.5)
            at, busy, whole, taken = time.monotonic(), core.cpu_s(), core.core_s(), napi.received(lab)
            found = _honest(lab, seconds, CLIENTS_PER_S)
            took = time.monotonic() - at
            share, all_share = (core.cpu_s() - busy) / took, (core.core_s() - whole) / took
            taken_per_s = (napi.received(lab) - taken) / took
    return Saturated(_counted(how.name, 0, found, told[0]), taken_per_s, share, max(all_share - share, 0.0))


# --- the report -------------------------------------------------------------------------------------------------------


def measure(rates: list[int], seconds: float, rounds: int, syns: int, *, quick: bool) -> dict[str, Any]:
    """Everything: rows of honest clients, the cost of a SYN (syns a round), guarded.py, forging.py."""
    rows = [served(how, rate, seconds) for rate in rates for how in DEFENCES]
    hard = [saturated(how, seconds) for how in DEFENCES if how.name in SATURATED]
    rest = {**guarded.measure(quick=quick), **forging.measure(quick=quick)}
    return {"served": rows, "saturated": hard, "cost": [syn_cost.measure(rounds, syns)], **rest}


def as_json(done: dict[str, Any]) -> dict[str, Any]:
    """Every figure."""
    return {
        "schema": "halfopen.bench-protect/1",
        **{name: [asdict(one) for one in rows] for name, rows in done.items()},
    }


def as_lines(done: dict[str, Any]) -> Iterator[str]:
    """The tables."""
    yield f"Honest clients, {CLIENTS_PER_S} a second, under a flood: the share that was answered"
    yield f"{'SYN/s':>9}  {'defence':46}{'0.25 s':>8}{'1.3 s':>8}{'6 s':>8}{'scaled':>8}{'sent/s':>10}"
    for one in done["served"]:
        shares = [f"{100 * n / max(one.clients, 1):.1f}%" for n in (one.immediate, one.within, one.done)]
        scaled = f"{100 * one.scaled / max(one.done, 1):.0f}%"
        yield (
            f"{one.rate:>9,}  {one.name:46}"
            + "".join(f"{share:>8}" for share in (*shares, scaled))
            + f"{one.took_in_per_s:>10,.0f}"
        )
    yield ""
    yield "The same, with one core that takes all packets in, and SYNs as fast as another can send them"
    yield (
        f"{'defence':28}{'0.25 s':>8}{'1.3 s':>8}{'6 s':>8}{'sent/s':>10}{'taken in/s':>12}{'core busy':>11}"
        f"{'others':>8}{'us each':>9}"
    )
    for hard in done["saturated"]:
        one = hard.served
        shares = [f"{100 * n / max(one.clients, 1):.1f}%" for n in (one.immediate, one.within, one.done)]
        rates = f"{one.took_in_per_s:>10,.0f}{hard.taken_per_s:>12,.0f}{hard.busy:>11.0%}"
        rates += f"{hard.others:>8.0%}{hard.packet_us:>9.2f}"
        yield f"{one.name:28}" + "".join(f"{share:>8}" for share in shares) + rates
    sent = max((hard.served.took_in_per_s for hard in done["saturated"]), default=0.0)
    if sent < WANTED_PER_S:
        yield f"At most {sent:,.0f} SYNs a second were sent, not {WANTED_PER_S:,}: only the last column counts"
    yield ""
    (cost,) = done["cost"]
    yield from syn_cost.as_lines(cost)
    yield ""
    yield from guarded.as_lines(done)
    yield ""
    yield from forging.as_lines(done)
