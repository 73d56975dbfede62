"""tuned and bpftune are named when they run, and only then. Stand-ins here: what counts is a process by that name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halfopen.core.tune import keys
from halfopen.read import tuners
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab, LabHost

KEYS = [keys.SOMAXCONN, keys.COOKIES]
Start = Callable[[str], None]


@pytest.fixture
def start(lab: Lab, tmp_path: Path) -> Iterator[Callable[[str, LabHost], None]]:
    """Starts a script by a name in a host of the lab, which waits until the test is over."""
    running: list[subprocess.Popen[str]] = []
    hosts = []

    def begin(name: str, host: LabHost) -> None:
        script = tmp_path / name
        # As tuned is one: its process has the name of the script, its first word the interpreter's.
        script.write_text("#!/bin/sh\nread x\n")
        script.chmod(0o755)
        running.append(host.spawn([str(script)], stdin=subprocess.PIPE))
        hosts.append(host)
        until(lambda: name in tuners.running())

    yield begin
    for host, process in zip(hosts, running, strict=True):
        host.end(process)


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An /etc/tuned with a profile that includes another."""
    made = tmp_path / "etc"
    for name, text in (
        ("fast", "[main]\ninclude=base\n[sysctl]\nnet.core.somaxconn=>2048\n"),
        ("base", "[sysctl]\nnet.core.somaxconn=1\nnet.ipv4.tcp_syncookies=2\n"),
    ):
        (made / "profiles" / name).mkdir(parents=True)
        (made / "profiles" / name / "tuned.conf").write_text(text)
    (made / "active_profile").write_text("fast\n")
    monkeypatch.setattr(tuners, "ETC", str(made))
    monkeypatch.setattr(tuners, "PROFILES", (str(made / "profiles"), str(made)))
    return made


def notes(host: LabHost, *, persist: bool = True) -> list[str]:
    return host.run(lambda: tuners.notes(KEYS, persist))


def test_neither_runs(lab: Lab) -> None:
    assert tuners.running() == {}
    assert notes(lab.server) == []


def test_tuned_is_named_with_the_line_of_its_profile(
    lab: Lab, start: Callable[[str, LabHost], None], etc: Path
) -> None:
    start("tuned", lab.server)
    one, two = notes(lab.server)
    assert f"sets somaxconn to 2048 at least ({etc}/profiles/fast/tuned.conf:4); it applies sysctl.d afterwards" in one
    assert f"sets tcp_syncookies to 2 ({etc}/profiles/base/tuned.conf:3)" in two
    # It sets the namespace it runs in, and no other.
    assert notes(lab.client) == []
    (etc / "tuned-main.conf").write_text("reapply_sysctl = 0\n")
    assert notes(lab.server)[0].endswith("it does so when it starts, after the entry was applied")
    (etc / "active_profile").unlink()
    [line] = notes(lab.server)
    assert line.endswith(f"its settings could not be read: {etc}/active_profile")


def test_bpftune_is_named_everywhere(lab: Lab, start: Callable[[str, LabHost], None]) -> None:
    start("bpftune", lab.server)
    for host in (lab.server, lab.client):
        [line] = notes(host)
        assert line.startswith("bpftune is running, which changes tcp_syncookies under a flood or when memory is short")


def test_a_name_alone_is_not_enough(lab: Lab, start: Callable[[str, LabHost], None], tmp_path: Path) -> None:
    program = "import time; open('/proc/self/comm', 'w').write('tuned'); print(flush=True); input()"
    words = ["python3", "-c", program]
    process = lab.server.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert Path(f"/proc/{process.pid}/comm").read_text() == "tuned\n"
    assert tuners.running() == {}
    process.stdout.close()
    lab.server.end(process)
