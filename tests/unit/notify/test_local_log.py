"""The journal and syslog: one datagram with everything, and nobody waits where the reader is stuck."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfopen.core.errors import Undelivered
from halfopen.notify.local_log import MESSAGE_ID, SyslogSocket, SystemdJournal, line, record
from halfopen.notify.receiver import Message
from notices import notice, receiver


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "log"))
        one.settimeout(60)
        yield one


def test_the_journal_gets_fields(reader: socket.socket) -> None:
    evil = notice(netns="a\nPRIORITY=0", actions=("released 5", "released 6"))
    SystemdJournal(receiver("journald", path=reader.getsockname())).send([Message("m", evil)], 5)
    fields = reader.recv(65536).decode().splitlines()
    assert all("=" in field for field in fields)
    assert f"MESSAGE_ID={MESSAGE_ID}" in fields
    assert "MESSAGE=ALARM web-1 :443: clients are turned away" in fields
    assert [field for field in fields if field.startswith("PRIORITY=")] == ["PRIORITY=2"]
    assert "HALFOPEN_NETNS=a?PRIORITY=0" in fields
    for field in ("INCIDENT=i-1", "STATE=firing", "CAUSE=syn-flood", "WAITING=4096", "BEGAN=1000000000.000"):
        assert f"HALFOPEN_{field}" in fields
    assert [f for f in fields if "ACTION" in f] == ["HALFOPEN_ACTION=released 5", "HALFOPEN_ACTION=released 6"]


def test_priorities() -> None:
    def priority(**more: object) -> str:
        return next(f for f in record(notice(**more)).decode().splitlines() if f.startswith("PRIORITY="))

    assert priority(level="warning") == "PRIORITY=4"
    assert priority(level="notice", alarmed=False) == "PRIORITY=5"
    assert priority(state="resolved") == "PRIORITY=5"


def test_syslog_gets_a_line(reader: socket.socket) -> None:
    SyslogSocket(receiver("syslog", path=reader.getsockname())).send([Message("m", notice())], 5)
    text = reader.recv(65536).decode()
    assert text.startswith("<26>")
    assert f" halfopen[{os.getpid()}]: ALARM web-1 :443: clients are turned away incident=i-1 state=firing " in text
    at = time.struct_time((2026, 3, 5, 7, 8, 9, 0, 0, 0))
    odd = line(notice("resolved", netns='my "blue" one', because=""), at).decode()
    assert odd.startswith("<29>Mar  5 07:08:09 halfopen[")
    assert r'netns="my \"blue\" one"' in odd


def test_a_reader_that_is_stuck_is_not_waited_for(reader: socket.socket) -> None:
    one = SystemdJournal(receiver("journald", path=reader.getsockname()))
    began = time.monotonic()

    def fill() -> None:
        for _ in range(10_000):
            one.send([Message("m", notice())], 5)

    with pytest.raises(Undelivered, match="is not reading at the moment"):
        fill()
    assert time.monotonic() - began < 30
    while True:  # it goes on
        reader.settimeout(0.01)
        try:
            reader.recv(65536)
        except TimeoutError:
            break
    one.send([Message("m", notice())], 5)


def test_no_log_there(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="No such file"):
        SystemdJournal(receiver("journald", path=str(tmp_path / "none"))).send([Message("m", notice())], 5)
