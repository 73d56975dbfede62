"""The guard beside the kernel's own defences: honest clients under a flood, a receiving core at its limit, CPU a SYN.

Alone: python bench/run.py --only protect [--quick]

SYN-ACKs to forged addresses are dropped as they leave, in every row alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import forging
import guarded
import honest
import napi
import saturated
import syn_cost
import unflooded
from pouring import Pouring

from halfopen.lab import Lab

COOKIES: Final = "net.ipv4.tcp_syncookies"
SYNACK: Final = "net.ipv4.tcp_synack_retries"


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


# --- what is measured -------------------------------------------------------------------------------------------------


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
    with _command(lab, "protect", f":{honest.PORT}", "--at", share) as process:
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


def served(how: Defence, rate: int, seconds: float) -> honest.Served:
    """How honest clients fare behind a defence while so many SYNs a second come."""
    with Lab() as lab, closing(Pouring(lab, honest.frames(lab))) as pouring:
        lab.server.listen(honest.PORT, backlog=honest.BACKLOG, other_process=True)
        with _defended(lab, how), napi.first(), pouring.poured(rate) as told:
            time.sleep(1.5)  # the queue is full by then
            found = honest.served(lab, seconds)
    return honest.counted(how.name, rate, found, told[0])


# --- the report -------------------------------------------------------------------------------------------------------


def measure(rates: list[int], seconds: float, rounds: int, syns: int, *, quick: bool) -> dict[str, Any]:
    """Everything: rows of honest clients, the cost of a SYN (syns a round), guarded.py, forging.py."""
    rows = [served(how, rate, seconds) for rate in rates for how in DEFENCES]
    hard = saturated.measure(seconds)
    calm = unflooded.measure(1 if quick else 3, seconds / 2)
    rest = {**guarded.measure(quick=quick), **forging.measure(quick=quick)}
    return {"served": rows, "saturated": hard, "unflooded": calm, "cost": [syn_cost.measure(rounds, syns)], **rest}


def as_json(done: dict[str, Any]) -> dict[str, Any]:
    """Every figure."""
    return {
        "schema": "halfopen.bench-protect/1",
        **{name: [asdict(one) for one in rows] for name, rows in done.items()},
    }


def as_lines(done: dict[str, Any]) -> Iterator[str]:
    """The tables."""
    yield f"Honest clients, {honest.PER_S} a second, under a flood: the share that was answered"
    yield f"{'SYN/s':>9}  {'defence':46}{'0.25 s':>8}{'1.3 s':>8}{'6 s':>8}{'scaled':>8}{'sent/s':>10}"
    for one in done["served"]:
        scaled = f"{100 * one.scaled / max(one.done, 1):.0f}%"
        yield (
            f"{one.rate:>9,}  {one.name:46}"
            + "".join(f"{share:>8}" for share in (*one.shares(), scaled))
            + f"{one.took_in_per_s:>10,.0f}"
        )
    yield ""
    yield from saturated.as_lines(done["saturated"])
    yield ""
    yield from unflooded.as_lines(done["unflooded"])
    yield ""
    (cost,) = done["cost"]
    yield from syn_cost.as_lines(cost)
    yield ""
    yield from guarded.as_lines(done)
    yield ""
    yield from forging.as_lines(done)
