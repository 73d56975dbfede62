"""`make demo`: a flood turns honest clients away, is explained and cured; in private namespaces, in under a minute.

Nothing here is simulated: a real listener, real clients, real request sockets of this kernel, and the commands an
operator would type. As root, or in a user namespace where the machine allows one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from msgspec import Struct

from halfopen.cli import demo_guard
from halfopen.core.errors import EXIT_INTERRUPTED, HalfopenError

if TYPE_CHECKING:
    from halfopen.lab import Honest, Lab, LabListener

HONEST: Final = 20
NEWCOMERS: Final = 20
FLOOD_RATE: Final = 1000
OLD_ENOUGH_S: Final = 3
_PORT: Final = 8080
_BACKLOG: Final = 128
_LONGER: Final = 4096
_COOKIES: Final = "net.ipv4.tcp_syncookies"
_PATIENCE_S: Final = 3.0
_DEADLINE_S: Final = 60.0
# How long it has to be calm until an incident is over, so that nobody waits for the usual 10 s.
_CALM_S: Final = 4
# The story ends the flood long before.
_FLOOD_AT_MOST_S: Final = 60.0


class Facts(Struct):
    """One column of the table at the end."""

    half_open: int
    queue: str
    alive: int
    let_in: int


def say(text: str) -> None:
    """A line of the story."""
    bold, off = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"\n{bold}# {text}{off}", flush=True)


def halfopen(*words: str, hidden: Mapping[str, str]) -> int:
    """Run a command as the operator would, in view; hidden: what is shown instead of some of its words."""
    print(f"$ halfopen {' '.join(hidden.get(word, word) for word in words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "halfopen", *words], stdin=subprocess.DEVNULL, check=False).returncode


class WatchProcess:
    """`halfopen watch` running beside the story, its lines shown as they come.

    history: the file that it keeps. config: its configuration, which is written here.
    """

    def __init__(self, path: str, history: str, config: str) -> None:
        with open(config, "w", encoding="utf-8") as f:
            f.write(f'[alarm]\ncalm = "{_CALM_S}s"\n')
        words = ["watch", "--netns", path, "--config", config, "--interval", "500ms", "--for", "300s"]
        words += ["--history", history]
        print(f"An incident is over after {_CALM_S} s of calm: alarm.calm in CONFIG", flush=True)
        print("$ halfopen watch --netns NETNS --config CONFIG --interval 500ms --history HISTORY &", flush=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "halfopen", *words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line)
            # Hundreds of dropped SYNs a second are news to the watch, the same again to a reader.
            if "(+0)" not in line:
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


def facts(lab: Lab, web: LabListener, honest: Honest) -> Facts:
    """Measure: what the kernel holds, who is alive, and how many new honest clients get in."""
    from halfopen import snapshot

    model = snapshot(lab.server.netns_path, owners=False)
    queue = next((v for v in model.listeners if v.port == _PORT), None)
    limit = queue.syn_queue_limit if queue is not None else None
    newcomers = lab.client.connect(web, NEWCOMERS, timeout=_PATIENCE_S)
    let_in = newcomers.alive()
    newcomers.close()
    return Facts(model.half_open, f"{limit:,}" if limit else "-", honest.alive(), let_in)


def story(lab: Lab, scratch: str) -> None:
    """See, explain, cure, release; before and after, and what the watch kept of it."""
    path = lab.server.netns_path
    lab.server.set_sysctl(_COOKIES, 0)
    # In a process of its own, as a server is: one that was made in the user namespace may be looked into there.
    web = lab.server.listen(_PORT, backlog=_BACKLOG, other_process=True)
    honest = lab.client.connect(web, HONEST)
    say(f"A server on :{_PORT} with {HONEST} clients; its SYN queue is short and SYN cookies are off")
    history = f"{scratch}/history"
    watch = WatchProcess(path, history, f"{scratch}/watch.toml")
    try:
        until("the watch", lambda: watch.saw("half-open"))
        quiet = facts(lab, web, honest)
        say(f"A flood begins: {FLOOD_RATE:,} SYNs a second from spoofed addresses that never answer")
        flood = lab.client.flood(web, FLOOD_RATE, _FLOOD_AT_MOST_S)
        until("the alarm", lambda: watch.saw("ALARM"))
        # The alarm may come before the queue is full, and whoever connects before that gets in. On a small machine
        # tcp_max_syn_backlog keeps its last quarter back while cookies are off.
        until("a full SYN queue", lambda: lab.server.half_open() > _BACKLOG * 3 // 4)
        say(f"Meanwhile {NEWCOMERS} new clients try to connect, for {_PATIENCE_S:g} seconds")
        flooded = facts(lab, web, honest)
        print(f"{flooded.let_in} of {NEWCOMERS} got in; the other {NEWCOMERS - flooded.let_in} were turned away")
        say("Why?")
        halfopen("status", "--netns", path, hidden={path: "NETNS"})
        cured = cure(lab, web, honest)
        if demo_guard.possible():
            guard(lab, web)
        flood.stop()
        until("ageing", lambda: lab.server.half_open() > 0 and _youngest_s(path) > OLD_ENOUGH_S)
        release(path)
        until("the end of the alarm", lambda: watch.saw("CLEAR"))
        until("the end of the incident", lambda: all(one["ended"] for one in kept(history)))
        released = facts(lab, web, honest)
    finally:
        watch.stop()
    say("The incident, as the watch kept it")
    incident(history)
    say("Before and after")
    table(quiet, flooded, cured, released)
    check(flooded, cured, released)


def cure(lab: Lab, web: LabListener, honest: Honest) -> Facts:
    """Let new clients in while the flood goes on."""
    path = lab.server.netns_path
    say("Cure it while the flood goes on: SYN cookies, and a longer queue for the running server")
    if halfopen("tune", "apply", "--netns", path, "--cookies", "on", "--yes", hidden={path: "NETNS"}):
        raise HalfopenError("demo", "turning on SYN cookies failed")
    # Some hosts refuse to look into another process. The first cure is enough.
    halfopen(
        "tune", "listener", f":{_PORT}", "--netns", path, "--backlog", str(_LONGER), "--yes", hidden={path: "NETNS"}
    )
    say(f"The flood goes on, and {NEWCOMERS} new clients try again")
    cured = facts(lab, web, honest)
    print(f"{cured.let_in} of {NEWCOMERS} got in")
    return cured


def guard(lab: Lab, web: LabListener) -> None:
    """Let those in with all their options whom a SYN cookie would cost some."""
    say("A SYN cookie costs a client without timestamps its window scaling; the guard of protect keeps it")
    protect = demo_guard.ProtectProcess(lab.server.netns_path, _PORT, "2%")
    try:
        protect.show(2)
        alive, scaled = demo_guard.let_in(lab, web, NEWCOMERS, _PATIENCE_S)
        print(f"{alive} of {NEWCOMERS} clients without timestamps got in, {scaled} of them with window scaling")
    finally:
        protect.stop()
    if (alive, scaled) != (NEWCOMERS, NEWCOMERS):
        raise HalfopenError("demo", f"{alive} of {NEWCOMERS} got in by the guard, {scaled} with window scaling")


def release(path: str) -> None:
    """Drop what the flood left."""
    say("The flood is over. Release what it left: first look, then do")
    words = ("release", "--netns", path, "--listener", f":{_PORT}", "--older-than", f"{OLD_ENOUGH_S}s")
    halfopen(*words, "--dry-run", hidden={path: "NETNS"})
    if halfopen(*words, "--yes", hidden={path: "NETNS"}):
        raise HalfopenError("demo", "the release failed")


def kept(history: str) -> list[dict[str, Any]]:
    """The incidents that the watch kept, as in docs/json.md, the latest last."""
    argv = [sys.executable, "-m", "halfopen", "history", "--file", history, "--incidents", "--json"]
    written = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False).stdout
    found: list[dict[str, Any]] = json.loads(written)["incidents"] if written else []
    return found


def incident(history: str) -> None:
    """Show the latest one. Raises: HalfopenError when none was kept."""
    found = kept(history)
    if not found:
        raise HalfopenError("demo", "the watch kept no incident")
    halfopen("history", "show", found[-1]["id"], "--file", history, hidden={history: "HISTORY"})


def check(flooded: Facts, cured: Facts, released: Facts) -> None:
    """Whether the story ended well. Raises: HalfopenError."""
    if flooded.let_in > NEWCOMERS // 2:
        raise HalfopenError("demo", f"the flood kept too few out: {flooded.let_in} of {NEWCOMERS} new clients got in")
    if cured.let_in != NEWCOMERS or released.let_in != NEWCOMERS:
        raise HalfopenError("demo", f"of {NEWCOMERS} new clients {cured.let_in}, then {released.let_in} got in")
    if released.half_open or released.alive != HONEST:
        raise HalfopenError("demo", f"{released.half_open} half-open left, {released.alive} of {HONEST} clients alive")


def _youngest_s(path: str) -> float:
    from halfopen import snapshot

    model = snapshot(path, owners=False)
    return min(model.ages_s.tolist()) if model.half_open else 0.0


_ROWS: Final[tuple[tuple[str, Callable[[Facts], str]], ...]] = (
    ("half-open connections", lambda f: f"{f.half_open:,}"),
    ("SYN queue, at most", lambda f: f.queue),
    ("clients from before, alive", lambda f: f"{f.alive} of {HONEST}"),
    (f"new clients in within {_PATIENCE_S:g} s", lambda f: f"{f.let_in} of {NEWCOMERS}"),
)


def table(*columns: Facts) -> None:
    """The end of the story."""
    print(f"{'':<27}" + "".join(f"{title:>12}" for title in ("quiet", "flooded", "cured", "released")))
    for title, show in _ROWS:
        print(f"{title:<27}" + "".join(f"{show(f):>12}" for f in columns))


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
            # The records of the commands are deleted with everything else.
            os.environ |= {"HALFOPEN_STATE_DIR": f"{scratch}/state", "HALFOPEN_AUDIT_LOG": f"{scratch}/audit.jsonl"}
            story(lab, scratch)
        print(f"\nDone in {time.monotonic() - begun:.0f} s; the namespaces and the history are gone.")
        sys.exit(0)
    except HalfopenError as e:
        print(f"halfopen: {e.line()}", file=sys.stderr)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
