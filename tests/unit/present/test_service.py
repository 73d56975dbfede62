# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""How the service is, in English and whole in Chinese."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from halfopen.present import language
from halfopen.present.service import answered_by, health_lines

INCIDENT = {
    "id": "20261126T045607-3f9c1a",
    "stage": "incident",
    "port": None,
    "lasted_s": 12.3,
    "causes": [{"id": "spoofed-flood"}],
    "silences": [{"until": 4e9, "by": "alice", "reason": "known"}],
}


def answer(**more: Any) -> dict[str, Any]:
    return {
        "version": "1",
        "pid": 5,
        "began": time.time() - 60,
        "status": "WARNING: 1,203 half-open connections in 12 network namespaces, 2 alarms, releases only observed, "
        "1 namespace could not be read, readings spaced out to 2.5 s (max_cpu)",
        "everywhere": True,
        "releases": True,
        "readings": 1,
        "spacing_s": 2.5,
        "last_reading_s": 0.4,
        "cpu_share": 0.0021,
        "face": {"pid": 6, "memory_bytes": 1 << 20, "restarts": 2, "dropped": 1},
        "receivers": [
            {"kind": "webhook", "name": "hook", "delivered": 3, "waiting": 1, "dropped": 2, "trouble": "why"},
        ],
        "silences": [{"name": ":443", "until": 4e9, "by": "bob", "reason": ""}],
    } | more


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_preferred", "zh")


def test_in_english_the_state_is_that_of_systemd() -> None:
    lines = health_lines(answer(), "/c.sock", [INCIDENT])
    assert lines[0] == f"State     {answer()['status']}"
    assert lines[1].startswith("Incident  20261126T045607-3f9c1a  incident at the network namespace for 12 s: spoofed-")
    assert lines[1].endswith("; silenced until " + lines[1].rpartition("until ")[2])
    assert "Readings  1 reading, 2.5 s apart, the last 0.4 s ago; 0.21% of a processor, with everything" in lines
    assert "Face      pid 6, 1.0 MiB, replaced 2 times, 1 message dropped" in lines
    assert "Alarms    hook (webhook): 3 messages delivered, 1 incident waiting, 2 incidents dropped; why" in lines
    for more, where in (
        ({"everywhere": True}, "every network namespace"),
        ({"everywhere": False, "netns": "self"}, "its own network namespace"),
        ({"everywhere": False, "netns": "/proc/7/fd/3"}, "the network namespace /proc/7/fd/3"),
    ):
        assert any(f"watches {where}, releases" in line for line in health_lines(answer(**more), "/c.sock"))
    for status in ("OK: 1 half-open connection, 1 alarm", "reading for the first time", "something else"):
        assert health_lines(answer(status=status), "/c.sock")[0] == f"State     {status}"


@pytest.mark.usefixtures("chinese")
def test_every_line_is_chinese() -> None:
    lines = health_lines(answer(), "/c.sock", [INCIDENT])
    assert lines[0] == (
        "状态      警告：1,203 个半连接，分布在 12 个网络命名空间，2 个告警，释放策略仅观察，1 个命名空间无法读取，"
        "采样间隔已拉长到 2.5 秒（max_cpu）"
    )
    own = {
        "halfopen",
        "pid",
        "MiB",
        "spoofed",
        "flood",
        "by",
        "alice",
        "bob",
        "known",
        "hook",
        "webhook",
        "why",
        "sock",
    }
    left = {word for line in lines for word in re.findall("[A-Za-z]{2,}", line)} - own
    assert left == {"max", "cpu", "CPU"}, "names alone stay English"
    assert health_lines(answer(status="reading for the first time"), "/c.sock")[0] == "状态      正在进行首次采样"
    assert answered_by(7, 2.04) == "由 halfopen 服务应答（pid 7），2.0 秒前；--direct 直接读取内核"
