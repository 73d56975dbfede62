"""`tune apply --for` under a real systemd: its transient timer brings the value back, the command killed or not."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfopen.core.tune import keys
from peers import until
from systemd import SYSTEMD, Systemd

pytestmark = pytest.mark.root


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    if not Path(SYSTEMD).exists() or not shutil.which("systemd-run"):
        pytest.skip("needs systemd: apt-get install systemd")
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path / "state"))
    with Systemd(tmp_path) as running:
        yield running


def value(systemd: Systemd, key: str) -> int:
    return int(systemd.run("cat", f"/proc/sys/{key.replace('.', '/')}").stdout)


def log(systemd: Systemd) -> list[Any]:
    done = systemd.halfopen("tune", "log", "--json")
    assert done.returncode == 0, done.stderr
    changes: list[Any] = json.loads(done.stdout)["changes"]
    return changes


def test_a_timer_of_systemd_brings_it_back(systemd: Systemd) -> None:
    before = value(systemd, keys.SYNACK), value(systemd, keys.COOKIES)
    # The clock of the timer starts before the command is killed.
    killed = ("tune", "apply", "--yes", "--release-time", "3s", "--for", "4s")
    done = systemd.halfopen(*killed, dies_at="apply.written")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert value(systemd, keys.SYNACK) == 1
    timers = systemd.run("systemctl", "list-timers", "--no-legend", "--all").stdout
    assert "halfopen-tune-1-" in timers
    done = systemd.halfopen("tune", "apply", "--yes", "--json", "--cookies", "always", "--for", "2s")
    said = json.loads(done.stdout)
    # To look at the value would come too late on a busy machine.
    assert (said["returns_by"], [c["state"] for c in said["changes"]]) == ("systemd", ["done"])
    until(lambda: (value(systemd, keys.SYNACK), value(systemd, keys.COOKIES)) == before)
    until(lambda: not systemd.run("systemctl", "list-units", "--no-legend", "--all", "halfopen-tune-*").stdout)
    assert [c["state"] for c in log(systemd)] == ["undone", "undone"]
