"""One to six signals at any moment: no traceback, 130 or what the command had come to, and nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peers import until
from run import SRC, environment

# How long each takes here, roughly: the signals come within that time, and after it.
COMMANDS = [
    (("status",), 0.4),
    (("list", "--netns", "all"), 0.5),
    (("release", "--all", "--dry-run"), 0.5),
    (("watch", "--interval", "50ms"), 0.8),
    (("tune", "show"), 0.6),
    (("handshakes", "--for", "300ms"), 0.8),
    (("doctor",), 0.8),
    (("lab", "--half-open", "50", "--duration", "300ms"), 0.8),
    (("lab", "--half-open", "5", "--", "sleep", "0.3"), 0.8),
    (("release-time", "--measure", "--retries", "0"), 1.5),
    (("--help",), 0.15),
]
_BOTH = (signal.SIGINT, signal.SIGTERM)


def in_charge(pid: int) -> bool:
    """Whether the process has come to its first line: Python itself catches no SIGTERM. True when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return not caught or "State:\tZ" in status or bool(int(caught[0], 16) >> (signal.SIGTERM - 1) & 1)


def disturbed(words: tuple[str, ...], span_s: float, chance: random.Random) -> tuple[int, str, list[str]]:
    """Run a command and signal it at random moments; its exit code, what it said on standard error, what it got."""
    process = subprocess.Popen(
        [sys.executable, "-m", "halfopen", *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: in_charge(process.pid))
    began = time.monotonic()
    # One after the other, or in a burst.
    moments = sorted(chance.random() * span_s for _ in range(chance.randint(1, 6)))
    if chance.random() < 0.3:
        moments = [moments[0] + 0.002 * n for n in range(len(moments))]
    sent = []
    for moment in moments:
        try:
            process.wait(max(0.0, began + moment - time.monotonic()))
            break
        except subprocess.TimeoutExpired:
            number = chance.choice(_BOTH)
            sent.append(f"{number.name} after {time.monotonic() - began:.3f} s")
            # To the process alone, as from kill, or to all of its group, as from a terminal.
            chance.choice((os.kill, os.killpg))(process.pid, number)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    until(lambda: _nobody_of_group(process.pid))
    return process.returncode, said, sent


def _nobody_of_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(("words", "span_s"), COMMANDS, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_signals_at_any_moment(words: tuple[str, ...], span_s: float) -> None:
    seed = os.environ.get("HALFOPEN_TEST_SEED", "1")
    for run in range(int(os.environ.get("HALFOPEN_TEST_RUNS", "3"))):
        code, said, sent = disturbed(words, span_s, random.Random(f"{seed} {run} {words}"))
        assert "Traceback" not in said, (words, sent, said)
        assert "Exception" not in said, (words, sent, said)
        # 143: the lab's command, which SIGTERM ended.
        assert code in (0, 130, 143), (words, sent, code, said)


def test_a_signal_during_an_import_waits_for_its_end(tmp_path: Path) -> None:
    # A class that is being made while it is imported: Python 3.11 makes RuntimeError of what interrupts that.
    code = (
        "import os, sys\n"
        "from halfopen.cli import signals\n"
        "signals.begin(); signals.run()\n"
        "try:\n"
        "    import interrupted\n"
        "    while True: pass\n"
        "except KeyboardInterrupt:\n"
        "    print('ended', 'interrupted' in sys.modules)\n"
    )
    module = (
        "import os, signal\n"
        "class Member:\n"
        "    def __set_name__(self, owner, name): os.kill(os.getpid(), signal.SIGINT)\n"
        "class Made:\n"
        "    member = Member()\n"
    )
    (tmp_path / "interrupted.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=f"{SRC}:{tmp_path}"),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ended True\n", "")
