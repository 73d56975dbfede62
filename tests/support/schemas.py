"""The names in every JSON document that a command writes, and their types, from real runs in a lab.

`python tests/support/schemas.py SRC` writes tests/golden/schemas from the halfopen in SRC, the `src` of a checkout: the
files there are of 217cf37, the last commit before the code was moved into rooms, and of what CHANGELOG.md names since.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfopen.lab import Lab

GOLDEN = Path(__file__).parents[1] / "golden" / "schemas"
# Objects whose keys are the kernel's names, of which one kernel has more than another.
MAPS = ("settings", "counters", "rates_per_s")
_PORT = 8080
_HALF_OPEN = 120
_SYNACK = "net.ipv4.tcp_synack_retries"

Tree = Any
Run = Callable[..., str]
Start = Callable[[Sequence[str], dict[str, str]], subprocess.CompletedProcess[str]]


def tree(value: Any, name: str = "") -> Tree:
    """A document's names and types: an object for an object, a list of one for an array, else a word."""
    if isinstance(value, dict):
        if name in MAPS and all(not isinstance(v, dict | list) for v in value.values()):
            return "map"
        return {key: tree(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        made: Tree = None
        for inner in value:
            made = merged(made, tree(inner))
        return [made]
    if value is None:
        return None
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "string"


def merged(one: Tree, other: Tree) -> Tree:
    """What is known of a value by two of its trees; None, for null or an element that never was, knows nothing."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [merged(one[0], other[0])]
    return one if one == other else f"{one} or {other}"


def differences(old: Tree, new: Tree, at: str = "") -> list[str]:
    """Names of the old tree that the new one lacks, or has with another type. More names are none."""
    if old is None or new is None:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found = [f"{at}.{key} is gone" for key in old if key not in new]
        for key in old.keys() & new.keys():
            found += differences(old[key], new[key], f"{at}.{key}")
        return found
    if isinstance(old, list) and isinstance(new, list):
        return differences(old[0], new[0], f"{at}[]")
    return [] if old == new else [f"{at} was {old!r} and is {new!r}"]


def trees(lab: Lab, src: Path, directory: Path, start: Start | None = None) -> dict[str, Tree]:
    """Schema, with the event or phase behind a colon where it has several kinds of lines → the tree of what was
    written. `directory` takes the journal of `tune` and the audit log. start: runs one command, a process of the
    halfopen in `src` unless given.
    """
    audit = str(directory / "audit.jsonl")
    environment = {**os.environ, "PYTHONPATH": str(src), "HALFOPEN_STATE_DIR": str(directory / "state")}
    start = start or _started

    def run(*words: str) -> str:
        if words[0] == "watch":
            [web] = lab.server.listeners
            return _until_clear(_command(*words), environment, lambda: lab.client.half_open(web, _HALF_OPEN))
        done = start(words, environment)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    documents = [*_looks(lab, run), *_watch(lab, run, audit), *_releases(lab, run, audit), *_tune(lab, run)]
    documents += map(json.loads, Path(audit).read_text(encoding="utf-8").splitlines())
    found: dict[str, Tree] = {}
    for document in documents:
        kind = document.get("event") or document.get("phase")
        name = document["schema"] + (f":{kind}" if kind else "")
        found[name] = merged(found.get(name), tree(document))
    return found


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "halfopen", *words]


def _started(words: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    given: dict[str, Any] = {"env": environment, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    return subprocess.run(_command(*words), timeout=180, check=False, **given)


def _until_clear(command: list[str], environment: dict[str, str], arrive: Callable[[], object]) -> str:
    """What a watch writes that is interrupted when its alarm is over. `arrive` is called twice a second once it has
    begun, until there is an alarm: what came before may be too old to be an alarm on a slow machine.
    """
    lines, alarm = [], threading.Event()

    def come() -> None:
        for _ in range(60):
            arrive()
            if alarm.wait(0.5):
                return

    arriving = threading.Thread(target=come)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if '"event":"begin"' in line and arriving.ident is None:
                arriving.start()
            if '"event":"alarm"' in line:
                alarm.set()
            if '"event":"clear"' in line:
                running.send_signal(signal.SIGINT)
        alarm.set()
    if arriving.ident is not None:
        arriving.join()
    return "".join(lines)


def _looks(lab: Lab, run: Run) -> list[dict[str, Any]]:
    web = lab.server.listen(_PORT, backlog=4096)
    lab.client.half_open(web, _HALF_OPEN).settled()
    where = ("--netns", lab.server.netns_path)
    listed = json.loads(run("list", *where, "--json"))
    rows = [json.loads(line) for line in run("list", *where, "--format", "ndjson").splitlines()]
    heading = run("list", *where, "--format", "csv").splitlines()[0]
    assert [list(row) for row in rows] == [heading.split(",")] * len(rows)
    # The table, CSV and NDJSON have no schema of their own: the rows of list/1, one a line.
    listed["connections"] += rows
    lab.client.slow(web, 100, 0.0, 0.2, rate=40)
    shakes = json.loads(run("handshakes", *where, "--for", "1s", "--json"))
    words = ("release-time", *where, "--json", "--measure", "--retries", "0")
    return [
        json.loads(run("status", *where, "--json")),
        listed,
        shakes,
        json.loads(run("diagnose", *where, "--for", "1s", "--json")),
        json.loads(run("advise", *where, "--for", "1s", "--json")),
        json.loads(run("doctor", "--json")),
        json.loads(run(*words)),
    ]


def _watch(lab: Lab, run: Run, audit: str) -> list[dict[str, Any]]:
    """An alarm, a release, and a clear. Whether a rise or another cause is told depends on when it looks."""
    config = Path(audit).with_suffix(".toml")
    config.write_text('[alarm]\ncalm = "500ms"\n', encoding="utf-8")
    where = ("--netns", lab.server.netns_path, "--config", str(config))
    words = ("watch", *where, "--interval", "100ms", "--for", "90s", "--json")
    run("release", "--all", "--yes", "--netns", lab.server.netns_path, "--audit-log", audit)
    lines = run(*words, "--release-older-than", "5s", "--audit-log", audit).splitlines()
    return [event for event in map(json.loads, lines) if event["event"] not in ("rising", "passed", "cause")]


def _releases(lab: Lab, run: Run, audit: str) -> list[dict[str, Any]]:
    [web] = lab.server.listeners
    lab.client.half_open(web, _HALF_OPEN).settled()
    words = ("release", "--all", "--json", "--netns", lab.server.netns_path, "--audit-log", audit)
    return [json.loads(run(*words, "--dry-run")), json.loads(run(*words, "--yes"))]


def _tune(lab: Lab, run: Run) -> list[dict[str, Any]]:
    where = ("--netns", lab.server.netns_path)
    apply = ("tune", "apply", *where, "--set", f"{_SYNACK}=2", "--set", "net.core.somaxconn=8192", "--json")
    listener = ("tune", "listener", f":{_PORT}", *where, "--json")
    change = ("--backlog", "512", "--retries", "3", "--yes")
    return [
        json.loads(run("tune", "show", *where, "--json")),
        json.loads(run(*apply, "--dry-run")),
        json.loads(run(*apply, "--yes", "--reason", "ticket 12", "--for", "10m")),
        json.loads(run(*listener)),
        json.loads(run(*listener, *change, "--dry-run")),
        json.loads(run(*listener, *change)),
        json.loads(run("tune", "log", "--json")),
        json.loads(run("tune", "undo", "--all", "--json")),
        json.loads(run("tune", "log", "--json")),
    ]


def path_of(name: str) -> Path:
    """The file that holds the tree of this schema."""
    return GOLDEN / (name.removeprefix("halfopen.").replace("/", "-").replace(":", "-") + ".json")


def golden() -> dict[str, Tree]:
    """Schema → its tree in tests/golden/schemas."""
    return {d["name"]: d["tree"] for d in (json.loads(p.read_text("utf-8")) for p in sorted(GOLDEN.glob("*.json")))}


def main(src: str) -> None:
    """Write the trees of the halfopen in `src`."""
    from halfopen.lab import Lab

    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        for name, found in trees(lab, Path(src).resolve(), Path(directory)).items():
            path_of(name).write_text(json.dumps({"name": name, "tree": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
