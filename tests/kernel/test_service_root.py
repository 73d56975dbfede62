"""The service started by root without systemd: its face is another user's process, whom root's files do not open to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import readable
from halfopen.service import client
from peers import until
from run import environment

pytestmark = pytest.mark.root


def test_the_face_of_root_is_somebody_else_s(tmp_path: Path) -> None:
    place, control = readable.copied(), str(tmp_path / "c.sock")
    path = f"{place}/src:{place}/packages"
    words = [os.path.realpath(readable.python()), "-P", "-m", "halfopen", "watch", "--as-service"]
    env = environment(PYTHONPATH=path, HALFOPEN_CONTROL=control)
    metrics = str(tmp_path / "m.sock")
    eyes = subprocess.Popen([*words, "--metrics-listen", metrics], env=env, stdout=subprocess.DEVNULL, cwd="/")
    try:
        until(
            lambda: (client.ask(control, {"command": "health"}) or {}).get("face", {}).get("memory_bytes"), timeout=30
        )
        answer = client.ask(control, {"command": "health"})
        assert answer is not None
        status = Path(f"/proc/{answer['face']['pid']}/status").read_text()
        ids = {line.split()[0]: line.split()[1:] for line in status.splitlines() if line.startswith(("Uid", "Gid"))}
        assert "0" not in {*ids["Uid:"], *ids["Gid:"]}
        assert re.search(r"Groups:\s*\n", status)
        assert re.search(r"CapBnd:\t0+\n", status), "not even by a set-user-ID program"
        # Its metrics are there all the same: the address was opened by root.
        with client.socket.socket(client.socket.AF_UNIX) as one:
            one.connect(metrics)
            one.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 200 OK")
    finally:
        eyes.send_signal(signal.SIGINT)
        eyes.wait(timeout=60)
    assert not os.path.exists(control)
    assert not os.path.exists(metrics)
