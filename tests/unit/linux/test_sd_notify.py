"""What systemd is told arrives as it reads it; where nobody listens nothing waits and nothing is raised."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from halfopen.linux.sd_notify import SystemdNotifier


@pytest.mark.parametrize("abstract", [False, True])
def test_the_lines_arrive_in_one_message(tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        name = str(tmp_path / "notify")
        systemd.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notifier = SystemdNotifier()
        assert notifier.send("READY=1", "STATUS=ok: nothing")
        assert systemd.recv(100) == b"READY=1\nSTATUS=ok: nothing"
        notifier.close()
        assert not notifier.send("READY=1")


def test_a_systemd_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notifier = SystemdNotifier(str(tmp_path / "notify"))
        assert [notifier.send("WATCHDOG=1") for _ in range(10_000)][-1] is False
        notifier.close()


def test_without_a_socket_nothing_happens(tmp_path: Path) -> None:
    assert not SystemdNotifier("").send("READY=1")
    gone = SystemdNotifier(str(tmp_path / "gone"))
    assert not gone.send("READY=1")
    gone.close()


@pytest.mark.parametrize(("usec", "often_s"), [("", 10.0), ("120000000", 10.0), ("8000000", 2.0), ("soon", 10.0)])
def test_the_watchdog_is_fed_in_time_but_not_each_second(
    usec: str, often_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    assert SystemdNotifier("").often_s == often_s
