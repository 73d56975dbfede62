"""History: an incident has one id everywhere, a writer that is killed loses two seconds at most, a full disk heals."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import begin, environment
from run import halfopen as command
from telling import PATIENCE_S

if TYPE_CHECKING:
    from halfopen.lab import Lab


def test_an_incident_has_one_id_in_lines_audit_log_and_history(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=4096)
    directory, audit = tmp_path / "history", tmp_path / "audit.jsonl"
    config = tmp_path / "watch.toml"
    config.write_text(f'[alarm]\ncalm = "500ms"\n[history]\npath = "{directory}/"\n')
    lines = tmp_path / "lines"  # not a pipe: the watch would wait when nobody reads it
    with lines.open("w") as out:
        process = begin(
            *("watch", "--netns", lab.server.netns_path, "--config", str(config), "--interval", "100ms", "--json"),
            *("--release-older-than", "3s", "--audit-log", str(audit)),
            stdout=out,
        )
    try:
        until(lambda: lines.read_text().count("\n") >= 2, timeout=60)
        lab.client.half_open(web, 500).settled()
        # A reader beside the writer.
        until(lambda: "half-open" in command("history", "--file", f"{directory}/", "--since", "1m").stdout)
        until(lambda: '"event":"clear"' in lines.read_text(), timeout=PATIENCE_S)
    finally:
        process.terminate()
        process.wait(timeout=60)
    events = [json.loads(line) for line in lines.read_text().splitlines()]
    [id] = {event["incident"] for event in events if event["event"] in ("rising", "alarm", "cause", "clear")}
    [released] = [event for event in events if event["event"] == "released"]
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [record["incidents"] for record in (released, *records)] == [[id]] * 3
    document = json.loads(command("history", "show", id[-6:], "--file", f"{directory}/", "--json").stdout)
    assert (document["id"], document["port"], document["peak_half_open"], document["released"]) == (id, 8080, 500, 500)
    assert [one["outcome"]["released"] for one in document["each_release"]] == [500]
    assert document["ended"] is not None
    kept = json.loads(command("history", "--file", f"{directory}/", "--json").stdout)
    assert [one["id"] for one in kept["incidents"]] == [id]
    [listener] = [one for one in kept["series"] if one["magnitude"] == "half_open" and one["port"] == 8080]
    assert max(slot["max"] for slot in listener["slots"]) == 500
    assert listener["slots"][-1]["last"] == 0
    # What is replayed is what was printed, to the last digit; the time of a release is that of its outcome.
    replayed = [
        json.loads(line)
        for line in command("history", "replay", id, "--file", f"{directory}/", "--json").stdout.splitlines()
    ]
    printed = [event for event in events if event["event"] not in ("begin", "end")]
    for event in (*replayed, *printed):
        if event["event"] == "released":
            del event["time"]
    assert replayed == printed
    screen = command("history", "replay", id, "--file", f"{directory}/", "--at", "+1s").stdout
    # The verdict, and so the first line, depends on how far the flood had come.
    assert re.search(r"^:8080 +\d", screen, re.MULTILINE), screen
    assert "Release time  63 s" in screen
    shown = command("history", "--file", f"{directory}/").stdout
    assert shown.startswith("1 incident in the last hour; at most 500 half-open")
    assert id in shown


# --- a writer of its own ----------------------------------------------------------------------------------------------

WRITER = """
import sqlite3, sys, time
from halfopen.core.history import HALF_OPEN, Retention, ValueSeen
from halfopen.core.where import Namespace
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace, prepare
from halfopen.store.writer import Writer

place, listeners, here = HistoryPlace.of(sys.argv[1]), int(sys.argv[2]), Namespace("boot", 1)
prepare(place, None)
writer = Writer(place, Retention(), retry_s=0.2)
reader = sqlite3.connect(f"file:{place.file}?mode=ro", uri=True)
while True:
    now = time.time()
    values = [ValueSeen(here, (2, "0.0.0.0", port, 0), HALF_OPEN, now, port) for port in range(1, listeners + 1)]
    writer.hand(HistoryBatch(now, values, watched=frozenset({here})))
    trouble = writer.trouble()
    last = reader.execute("SELECT max(id) >> 24 FROM seconds").fetchone()[0] or 0
    print(now, last, trouble.line() if trouble else "", sep="|", flush=True)
    time.sleep(0.1)
"""


def writing(*before: str, directory: Path, listeners: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-c", WRITER, f"{directory}/", str(listeners)],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> tuple[float, float, str]:
    """When a batch was handed to the writer, the last second that a reader finds, and what went wrong."""
    assert process.stdout is not None
    handed_s, last_s, trouble = process.stdout.readline().rstrip("\n").split("|")
    return float(handed_s), float(last_s), trouble


def lines_of(process: subprocess.Popen[str]) -> Iterator[tuple[float, float, str]]:
    """The next lines, of half a minute at most."""
    for _ in range(300):
        yield line_of(process)


def test_a_killed_writer_leaves_a_whole_file_that_lacks_two_seconds_at_most(tmp_path: Path) -> None:
    for _ in range(3):
        process = writing(directory=tmp_path / "h", listeners=250)
        first_s = handed_s = line_of(process)[0]
        late_s = 0.0
        while handed_s < first_s + 2.3:
            before_s, handed_s = handed_s, line_of(process)[0]
            late_s = max(late_s, handed_s - before_s - 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        db = sqlite3.connect(tmp_path / "h" / "history.db")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        last_s = db.execute("SELECT max(id) >> 24 FROM seconds").fetchone()[0]
        db.close()
        # The last second may have begun up to a second before what is in it; a busy machine delays the writer too.
        assert handed_s - last_s < 2 + 1 + 3 * late_s


@pytest.mark.root
def test_a_full_disk_is_told_once_ends_nothing_and_heals(tmp_path: Path) -> None:
    directory = tmp_path / "h"
    directory.mkdir()
    script = f'mount -t tmpfs -o size=1500k,mode=0755 tmpfs {directory} && exec "$@"'
    process = writing("unshare", "-m", "sh", "-c", script, "sh", directory=directory, listeners=2)
    filler = Path(f"/proc/{process.pid}/root{directory}/filler")
    try:
        next(last_s for _, last_s, _ in lines_of(process) if last_s)
        fill(filler)
        trouble = next(said for *_, said in lines_of(process) if said)
        assert "cannot grow" in trouble
        assert trouble.endswith("; make room")
        # Told once, and the watch goes on: a batch every tenth of a second.
        lines = [line_of(process) for _ in range(15)]
        assert [said for *_, said in lines if said] == []
        filler.unlink()
        room_s = line_of(process)[0]
        next(last_s for _, last_s, _ in lines_of(process) if last_s >= room_s)
    finally:
        process.kill()
        process.communicate(timeout=60)


def fill(path: Path) -> None:
    """Write a file until there is no room."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(16 * 1024))
        except OSError:
            pass
