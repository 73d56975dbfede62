"""The spool on a file system that is full: nobody is told less, it is said once, and it heals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import json, os, subprocess, sys, threading, time
sys.path[:0] = {paths!r}
at = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", at], check=True)
from halfopen.notify import delivery as deliveries
from halfopen.notify.spool import Spool
from notices import notice, receiver
deliveries._SPOOL_AGAIN_S = 0.2

class Friend:
    batch = 1
    def __init__(self):
        self.got = []
    def send(self, messages, within_s):
        self.got += messages
        return "thanks"

def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, said
        time.sleep(0.01)

friend, said, stop = Friend(), [], threading.Event()
path = at + "/spool.db"
one = deliveries.Delivery([receiver("command", name="chat")], path, said.append, lambda _: friend)
thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
thread.start()
one.take(notice(incident="before"))
until(lambda: len(friend.got) == 1)
try:
    with open(at + "/ballast", "wb", buffering=0) as f:
        while True:
            f.write(bytes(4096))
except OSError:
    pass
long = ("x" * 500,)
for n in range(40):
    one.take(notice(incident=f"i-{{n}}", text=long))
until(lambda: len(friend.got) == 41)
full = list(said)
os.unlink(at + "/ballast")
until(lambda: said[-1:] == ["notify: the spool works again"])
one.take(notice(incident="after"))
until(lambda: len(friend.got) == 42)
stop.set()
thread.join(20)
spool = Spool(path)
print(json.dumps({{"full": full, "said": said, "damaged": spool.set_aside, "rows": len(spool.rows())}}))
"""


def test_a_full_file_system(tmp_path: Path) -> None:
    script, disk = tmp_path / "script.py", tmp_path / "disk"
    script.write_text(_SCRIPT.format(paths=[p for p in sys.path if p]))
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(script), str(disk)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["full"]) == 1
    assert "full; make room; a restart would lose what waits" in found["full"][0]
    assert found["said"][-1] == "notify: the spool works again"
    assert (found["damaged"], found["rows"]) == (False, 42)
