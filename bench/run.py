"""The benchmark: halfopen and others on the same sockets, in private namespaces, in one run (`make bench`).

Run as root, or where user namespaces are allowed: .venv/bin/python bench/run.py [--quick] [--json FILE]
docs/benchmarks.md says what each row means.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

# Before anything loads numpy: its threads would keep this process from entering a user namespace.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))

from halfopen.core.errors import HalfopenError, UsageError  # noqa: E402

PARTS = (
    *("start", "release", "adversary", "scenes", "flood", "million", "waiting", "read", "pulse", "handshakes"),
    *("owners", "namespaces", "idle", "lab"),
)
# In full, and with --quick.
NUMBERS = {
    "counts": ([0, 1000, 100_000, 1_000_000], [0, 1000, 20_000]),
    "rounds": (5, 3),
    "release": (300_000, 20_000),
    "release_rounds": (3, 1),
    "slow": (50_000, 5_000),
    "flood": (50_000, 2_000),
    "flood_seconds": (6.0, 3.5),
    "million": (1_000_000, 20_000),
    "beside": (100_000, 5_000),
    "listeners": (1000, 50),
    "handshake_rounds": (25, 5),
    "starts": (15, 5),
    "descriptors": (1_000_000, 50_000),
    "namespaces": (500, 50),
    "watch_seconds": (20, 2),
    "syns": (200_000, 50_000),
    "sockets": (100_000, 4_000),
    "adversaries": (50_000, 2_000),
}


def _numbers(text: str) -> list[int]:
    numbers = [int(part.replace("_", "")) for part in text.split(",")]
    if not numbers or not all(0 <= n <= 1_000_000 for n in numbers):
        raise ValueError
    return numbers


def _positive(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise ValueError
    return number


_numbers.__name__, _positive.__name__ = "list of numbers up to 1000000", "positive number"


def arguments(words: list[str]) -> argparse.Namespace:
    """What to measure. Counts not given are the full ones, or with --quick those of a short check."""
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description="Measure halfopen against others on the same sockets."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller numbers and fewer rounds: a check of a few minutes")
    add("--json", metavar="FILE", help="write every single figure to FILE as well")
    add(
        "--only",
        choices=(*PARTS, "verdicts", "detection", "service", "policy", "closing", "protect", "history", "soak"),
        action="append",
        help="measure this part alone (repeatable)",
    )
    add("--counts", type=_numbers, metavar="N,N,…", help="half-open connections to read (0,1000,100000,1000000)")
    add("--rounds", type=_positive, metavar="N", help="rounds of readings (5; slow readers fewer)")
    add("--release", type=_positive, metavar="N", help="half-open connections to release (300000)")
    add("--release-rounds", type=_positive, metavar="N", help="releases by each (3)")
    add("--slow", type=_positive, metavar="N", help="slow clients against releases without a pause (50000)")
    add("--flood", type=_positive, metavar="N", help="SYNs a second while releases share their core (50000)")
    add("--flood-seconds", type=float, metavar="S", help="seconds of that before each release (6)")
    add("--million", type=_positive, metavar="N", help="half-open connections to release by one command (1000000)")
    add("--beside", type=_positive, metavar="N", help="half-open connections while others wait (100000)")
    add("--listeners", type=_positive, metavar="N", help="listeners whose queues are read (1000)")
    add("--handshake-rounds", type=_positive, metavar="N", help="rounds of handshakes, counted and not (25)")
    add("--descriptors", type=_positive, metavar="N", help="open files of others beside a listener (1000000)")
    add("--namespaces", type=_positive, metavar="N", help="empty network namespaces (500)")
    add("--watch-seconds", type=float, metavar="S", help="seconds that an idle watch is measured for (20)")
    add("--starts", type=_positive, metavar="N", help="starts of each command (15)")
    add("--syns", type=_positive, metavar="N", help="SYNs to send from one core (200000)")
    add("--sockets", type=_positive, metavar="N", help="closing: connections, both ends counted (100000)")
    add("--adversaries", type=_positive, metavar="N", help="closing: connections that become active (50000)")
    add("--minutes", type=_positive, metavar="N", default=30, help="soak: minutes of the service (30)")
    add("--draws", type=_positive, metavar="N", help="verdicts: seeds of each scene (10, with --quick 1)")
    add("--scene", action="append", metavar="NAME", help="verdicts: this scene alone (repeatable); mixes: every mix")
    add("--blind", action="store_true", help="verdicts: without eBPF")
    given = parser.parse_args(words)
    for name, (full, quick) in NUMBERS.items():
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else full)
    return given


def measure(given: argparse.Namespace, command: str) -> tuple[str, bool]:
    """Measure what was asked for and give the table, and whether a part failed; the JSON goes to its file.

    Raises: HalfopenError.
    """
    if "verdicts" in (given.only or ()):
        return _verdicts(given), False
    if "detection" in (given.only or ()):
        return _detection(given), False
    if "service" in (given.only or ()):
        return _service(given), False
    if "closing" in (given.only or ()):
        return _closing(given), False
    if "protect" in (given.only or ()):
        return _protect(given), False
    if "history" in (given.only or ()):
        return _history(given), False
    if "soak" in (given.only or ()):
        return _soak(given), False
    from halfopen.lab import enter_user_namespace

    enter_user_namespace()
    if "policy" in (given.only or ()):
        return _policy(given), False
    # Where PYTHONDONTWRITEBYTECODE is set every start would compile anew.
    compileall.compile_dir(str(SRC), quiet=2)

    import adversary
    import costs
    import eyes
    import flooded
    import handshaking
    import machine
    import reading
    import releasing
    import report
    import scenes
    import starting
    import waiting
    from inside import BenchError

    begun = time.monotonic()
    parts = set(given.only or PARTS)
    made = report.Report(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), command, machine.describe())
    made.loads.append(machine.load())
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory:
        audit_log = os.path.join(directory, "audit.jsonl")
        watch_s = 2.0 if given.quick else flooded.WATCH_S

        def readings() -> None:
            for n in given.counts:
                made.readings.append(reading.measure(n, given.rounds, audit_log))

        def flood() -> None:
            made.flooded = flooded.flood(given.flood, given.release_rounds, audit_log, given.flood_seconds, watch_s)

        works: dict[str, Callable[[], object]] = {
            "start": lambda: setattr(made, "starts", starting.start_up(given.starts, audit_log)),
            # Before the reading: for a while after a million sockets were freed, a release takes half as long again.
            "release": lambda: setattr(
                made, "releasing", releasing.measure(given.release, given.release_rounds, audit_log)
            ),
            "adversary": lambda: setattr(
                made, "adversary", adversary.measure(given.slow, given.release_rounds, audit_log)
            ),
            "scenes": lambda: setattr(made, "scenes", scenes.measure(given.slow, audit_log, quick=given.quick)),
            "flood": flood,
            "million": lambda: setattr(made, "whole", flooded.whole(given.million, given.release_rounds, audit_log)),
            "waiting": lambda: setattr(
                made, "waiting", waiting.measure(given.beside, 0.3 if given.quick else 4.0, audit_log)
            ),
            "read": readings,
            "pulse": lambda: setattr(made, "eyes", eyes.measure(max(given.counts), given.listeners, given.rounds)),
            "handshakes": lambda: setattr(made, "handshaking", handshaking.measure(given.handshake_rounds)),
            "owners": lambda: setattr(made, "owners", costs.owners(given.descriptors, given.rounds, audit_log)),
            "namespaces": lambda: setattr(
                made, "namespaces", costs.namespaces(given.namespaces, given.rounds, audit_log)
            ),
            "idle": lambda: setattr(made, "idle", costs.idle(given.listeners, given.watch_seconds)),
            # Last: it leaves its half-open connections to the kernel, in the hash table that every reading walks.
            "lab": lambda: setattr(made, "lab_rates", starting.lab_rates(given.syns, 1 if given.quick else 3)),
        }
        for part in [part for part in PARTS if part in parts]:
            try:
                works[part]()
            except BenchError as e:  # the figures of the other parts are none the worse
                made.failed[part] = e.message
    made.loads.append(machine.load())
    made.seconds = time.monotonic() - begun
    if given.json:
        _write(given.json, json.dumps(report.as_json(made), indent=2) + "\n")
    return report.as_text(made), bool(made.failed)


def _verdicts(given: argparse.Namespace) -> str:
    """Every scene in processes of its own, so nothing else is measured beside it."""
    if given.only != ["verdicts"]:
        raise UsageError("--only verdicts is measured alone", hint="give the other parts to a second run")
    import verdicts

    draws = given.draws or (1 if given.quick else verdicts.DRAWS)
    tallies = verdicts.measure(verdicts.chosen(given.scene), draws, blind=given.blind, jobs=os.cpu_count() or 1)
    if given.json:
        _write(given.json, json.dumps(verdicts.as_json(tallies), indent=1) + "\n")
    return "\n".join(verdicts.as_lines(tallies)) + "\n"


def _detection(given: argparse.Namespace) -> str:
    """Simulated, and busy on every core: nothing else is measured beside it."""
    if given.only != ["detection"]:
        raise UsageError("--only detection is measured alone", hint="give the other parts to a second run")
    import detection

    done = detection.measure(quick=given.quick)
    if given.json:
        _write(given.json, json.dumps(detection.as_json(done), indent=1) + "\n")
    return "\n".join(detection.as_lines(done)) + "\n"


def _service(given: argparse.Namespace) -> str:
    """Measured for as long as one likes (--watch-seconds), with nothing beside it."""
    if given.only != ["service"]:
        raise UsageError("--only service is measured alone", hint="give the other parts to a second run")
    import service

    done = service.measure(given.listeners, given.watch_seconds)
    if given.json:
        _write(given.json, service.document(done) + "\n")
    return "\n".join(service.lines(done, given.watch_seconds)) + "\n"


def _policy(given: argparse.Namespace) -> str:
    """It measures times of a process that shares the machine with nothing else of the benchmark."""
    if given.only != ["policy"]:
        raise UsageError("--only policy is measured alone", hint="give the other parts to a second run")
    import policy

    steps = policy.measure(given.rounds, policy.RATES[1:2] if given.quick else policy.RATES)
    if given.json:
        _write(given.json, json.dumps(policy.as_json(steps), indent=1) + "\n")
    return "\n".join(policy.as_lines(steps)) + "\n"


def _protect(given: argparse.Namespace) -> str:
    """It takes every core, so nothing else is measured beside it. It needs root: eBPF programs are loaded."""
    if given.only != ["protect"]:
        raise UsageError("--only protect is measured alone", hint="give the other parts to a second run")
    import protect

    quick = given.quick
    rates = [50_000] if quick else [50_000, 200_000]
    done = protect.measure(rates, 2.0 if quick else 4.0, 5 if quick else 15, 20_000, quick=quick)
    if given.json:
        _write(given.json, json.dumps(protect.as_json(done), indent=1) + "\n")
    return "\n".join(protect.as_lines(done)) + "\n"


def _closing(given: argparse.Namespace) -> str:
    """Its holders take most of the machine's memory for sockets, so nothing else is measured beside it."""
    if given.only != ["closing"]:
        raise UsageError("--only closing is measured alone", hint="give the other parts to a second run")
    from halfopen.lab import enter_user_namespace

    enter_user_namespace()
    import closing

    done = closing.measure(given.sockets, given.adversaries, given.rounds)
    if given.json:
        _write(given.json, json.dumps(closing.document(done), indent=1) + "\n")
    return "\n".join(closing.lines(done)) + "\n"


def _history(given: argparse.Namespace) -> str:
    """Measured for as long as one likes (--watch-seconds), with nothing beside it."""
    if given.only != ["history"]:
        raise UsageError("--only history is measured alone", hint="give the other parts to a second run")
    import keeping

    done = keeping.measure(given.listeners, given.watch_seconds, 3 if given.quick else keeping.KILLS)
    if given.json:
        _write(given.json, keeping.document(done) + "\n")
    return "\n".join(keeping.lines(done, given.watch_seconds)) + "\n"


def _soak(given: argparse.Namespace) -> str:
    """Half an hour of a service, and a day in fast motion. It needs root: namespaces come and go."""
    if given.only != ["soak"]:
        raise UsageError("--only soak is measured alone", hint="give the other parts to a second run")
    import fast_day
    import soak

    made = soak.measure(2 if given.quick else given.minutes)
    day = fast_day.measure(2 if given.quick else 24)
    if given.json:
        _write(given.json, json.dumps({"soak": soak.as_json(made), "day": fast_day.as_json(day)}, indent=1) + "\n")
    return "\n".join([*soak.lines(made), *fast_day.lines(day)]) + "\n"


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from None


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Exit code: 0 measured (missed targets too), 1 a part has no figures, 2 wrong usage, 3 not possible here, 130
    interrupted.
    """
    given = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, _terminated)
    command = shlex.join(["bench/run.py", *sys.argv[1:]])
    try:
        text, failed = measure(given, command)
        print(text, end="", flush=True)
    except HalfopenError as e:
        print(f"bench: {e.line()}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is left behind", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
