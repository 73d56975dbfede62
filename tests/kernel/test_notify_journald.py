"""Incidents in a real journald: with their fields; and one that is stuck delays nobody and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

JOURNALD = "/lib/systemd/systemd-journald"

_SCRIPT = """
import json, os, signal, subprocess, sys, threading, time
sys.path[:0] = {paths!r}
from halfopen.notify.delivery import Delivery
from halfopen.notify.kinds import receiver as made
from halfopen.notify import pace
from notices import notice, receiver

os.makedirs("/run/systemd/journald.conf.d")
with open("/run/systemd/journald.conf.d/test.conf", "w") as f:
    f.write("[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nRateLimitBurst=0\\n")
journald = subprocess.Popen([{journald!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)

def kept():
    out = subprocess.run(
        ["journalctl", "-o", "json", "-D", "/run/log/journal", "SYSLOG_IDENTIFIER=halfopen"], capture_output=True
    ).stdout
    return [json.loads(line) for line in out.splitlines()]

class Friend:
    batch = 1
    def __init__(self):
        self.got = []
    def send(self, messages, within_s):
        self.got += messages
        return "thanks"

friend, said, stop = Friend(), [], threading.Event()
pace.MOST_S = 0.2

def make(settings):
    return friend if settings.name == "chat" else made(settings)

log = receiver("syslog", path="/run/systemd/journal/dev-log")
try:
    until(lambda: os.path.exists("/run/systemd/journal/dev-log"))
    receivers = [receiver("journald"), log, receiver("command", name="chat")]
    one = Delivery(receivers, "/run/spool/notify.db", said.append, make)
    thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
    thread.start()
    one.take(notice(incident="first", actions=("released 5", "released 6")))
    until(lambda: len(kept()) == 2)
    os.kill(journald.pid, signal.SIGSTOP)
    for n in range(100):
        one.take(notice(incident=f"i-{{n}}"))
    until(lambda: len(friend.got) == 101 and not one.standing()[2].waiting)
    waiting = {{r.name: r.waiting for r in one.standing()}}
    os.kill(journald.pid, signal.SIGCONT)
    until(lambda: not any(r.waiting for r in one.standing()))
    until(lambda: len(kept()) == 202)
    stop.set()
    thread.join(20)
    print(json.dumps({{"waiting": waiting, "said": said, "kept": kept()}}))
finally:
    journald.kill()
    journald.wait()
"""


@pytest.mark.root
def test_a_real_journald(tmp_path: Path) -> None:
    if not os.path.exists(JOURNALD):
        pytest.skip("systemd is not installed: scripts/bootstrap dev as root, on Debian or Ubuntu")
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(paths=[p for p in sys.path if p], journald=JOURNALD))
    own_run = 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", own_run, "sh", sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    # A stopped reader takes as many as its queue holds; the others wait, and nobody waits for them.
    assert found["waiting"]["journald"] > 50
    assert found["waiting"]["chat"] == 0
    assert any("its reader is not reading at the moment" in line for line in found["said"])
    assert "notify: journald: takes messages again" in found["said"]
    by_fields = {one["HALFOPEN_INCIDENT"]: one for one in found["kept"] if "HALFOPEN_INCIDENT" in one}
    assert len(by_fields) == 101
    first = by_fields["first"]
    assert (first["PRIORITY"], first["HALFOPEN_LISTENER"], first["HALFOPEN_WAITING"]) == ("2", ":443", "4096")
    assert first["HALFOPEN_ACTION"] == ["released 5", "released 6"]
    assert first["MESSAGE"] == "ALARM web-1 :443: clients are turned away"
    lines = [one for one in found["kept"] if "HALFOPEN_INCIDENT" not in one]
    assert len(lines) == 101
    assert lines[0]["MESSAGE"].startswith("ALARM web-1 :443: clients are turned away incident=first state=firing ")
    assert lines[0]["SYSLOG_FACILITY"] == "3"
