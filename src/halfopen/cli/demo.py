"""`make demo`: the whole story on real half-open connections, in private namespaces, in half a minute, by itself.

Nothing here is simulated: a real listener, real clients, real request sockets of this kernel, and the commands an
operator would type. As root, or in a user namespace where the machine allows one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from halfopen.core.errors import EXIT_INTERRUPTED, HalfopenError

if TYPE_CHECKING:
    from halfopen.lab import Honest, Lab, Listener

HONEST: Final = 20
FLOOD_RATE: Final = 2000
FLOOD_S: Final = 2.0
OLD_ENOUGH_S: Final = 3
_PORT: Final = 8080
_BACKLOG: Final = 8192
_DEADLINE_S: Final = 15.0


@dataclass(slots=True)
class Facts:
    """One column of the table at the end."""

    half_open: int
    oldest_s: float
    alive: int
    connect_ms: float


def say(text: str) -> None:
    """A line of the story."""
    bold, off = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"\n{bold}# {text}{off}", flush=True)


def halfopen(*words: str, path: str) -> int:
    """Run a command as the operator would, in view."""
    shown = " ".join("NETNS" if w == path else w for w in words)
    print(f"$ halfopen {shown}", flush=True)
    return subprocess.run([sys.executable, "-m", "halfopen", *words], check=False).returncode


class Watch:
    """`halfopen watch` running beside the story, its lines shown as they come."""

    def __init__(self, path: str) -> None:
        words = ["watch", "--netns", path, "--interval", "500ms", "--for", "40s"]
        print("$ halfopen watch --netns NETNS --interval 500ms &", flush=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "halfopen", *words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line)
            print(f"  watch | {line}", end="", flush=True)

    def saw(self, word: str) -> bool:
        """Whether a line with this word has come."""
        return any(word in line for line in self.lines)

    def stop(self) -> None:
        """End it in order, and wait for its last line."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._reader.join(1)


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a state of things. Raises: HalfopenError when it does not come."""
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise HalfopenError("demo", f"{what} did not happen within {_DEADLINE_S:g} s")
        time.sleep(0.05)


def facts(lab: Lab, web: Listener, honest: Honest) -> Facts:
    """Measure: what the kernel holds, who is alive, and how long one new client takes to connect."""
    from halfopen import snapshot

    model = snapshot(lab.server.netns_path)
    begun = time.monotonic()
    newcomer = lab.client.connect(web, 1)
    took = time.monotonic() - begun
    alive = honest.alive()
    newcomer.close()
    return Facts(model.half_open, model.oldest_s, alive, took * 1000)


def story(lab: Lab, audit: str) -> None:
    """See, explain, release; before and after."""
    path = lab.server.netns_path
    web = lab.server.listen(_PORT, backlog=_BACKLOG)
    honest = lab.client.connect(web, HONEST)
    say(f"A server on :{_PORT} with {HONEST} honest clients, in a private network namespace; a watch beside it")
    watch = Watch(path)
    try:
        until("the watch", lambda: watch.saw("half-open"))
        quiet = facts(lab, web, honest)
        say(f"{int(FLOOD_RATE * FLOOD_S):,} SYNs from spoofed addresses: each leaves a half-open connection behind")
        flood = lab.client.flood(web, FLOOD_RATE, FLOOD_S)
        until("the alarm", lambda: watch.saw("ALARM"))
        flood.wait()
        flood.stop()
        until("ageing", lambda: lab.server.half_open() > 0 and _youngest_s(path) > OLD_ENOUGH_S)
        say("What is there, and why?")
        halfopen("status", "--netns", path, path=path)
        before = facts(lab, web, honest)
        say("Release them: first look, then do")
        words = ("release", "--netns", path, "--listener", f":{_PORT}", "--older-than", f"{OLD_ENOUGH_S}s")
        halfopen(*words, "--dry-run", path=path)
        if halfopen(*words, "--yes", "--audit-log", audit, path=path):
            raise HalfopenError("demo", "the release failed")
        until("the end of the alarm", lambda: watch.saw("CLEAR"))
        after = facts(lab, web, honest)
    finally:
        watch.stop()
    say("Before and after")
    table(quiet, before, after)
    if after.half_open or after.alive != HONEST:
        raise HalfopenError("demo", f"{after.half_open} half-open left, {after.alive} of {HONEST} honest clients alive")


def _youngest_s(path: str) -> float:
    from halfopen import snapshot

    model = snapshot(path, owners=False)
    return float(model.ages_s.min()) if model.half_open else 0.0


_ROWS: Final[tuple[tuple[str, Callable[[Facts], str]], ...]] = (
    ("half-open connections", lambda f: f"{f.half_open:,}"),
    ("the oldest", lambda f: f"{f.oldest_s:.1f} s" if f.half_open else "-"),
    ("honest clients alive", lambda f: f"{f.alive} of {HONEST}"),
    ("a new client connects in", lambda f: f"{f.connect_ms:.1f} ms"),
)


def table(quiet: Facts, before: Facts, after: Facts) -> None:
    """The end of the story."""
    print(f"{'':<26}{'quiet':>12}{'flooded':>12}{'released':>12}")
    for title, show in _ROWS:
        print(f"{title:<26}" + "".join(f"{show(f):>12}" for f in (quiet, before, after)))


def main() -> NoReturn:
    """Run it; exit 0 when the story ended well, 3 with one line where this machine cannot show it."""

    def terminated(number: int, _: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, terminated)
    try:
        from halfopen.lab import Lab, enter_user_namespace

        enter_user_namespace()
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="halfopen-demo-") as scratch, Lab() as lab:
            story(lab, os.path.join(scratch, "audit.jsonl"))
        print(f"\nDone in {time.monotonic() - begun:.0f} s; the namespaces are gone.")
        sys.exit(0)
    except HalfopenError as e:
        print(f"halfopen: {e.line()}", file=sys.stderr)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
