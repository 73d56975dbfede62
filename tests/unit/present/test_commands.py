"""Proposed commands: whole words at every width, one command to a shell, and by sudo for who may not."""

from __future__ import annotations

import shlex

import pytest

from halfopen.present import commands

LONG = "halfopen release --netns /proc/25334/fd/3 --listener '[2001:db8::1]:80' --source 10.9.255.0/24 --older-than 3s"
TWO = "halfopen tune apply --netns 'a b' --set somaxconn=4096 && halfopen tune listener :80 --backlog 99 --netns 'a b'"


@pytest.mark.parametrize("command", [LONG, TWO, "halfopen watch"])
@pytest.mark.parametrize("width", [60, 80, 100, 140, 400])
def test_it_is_one_command_at_every_width(command: str, width: int) -> None:
    text = commands.filled("Next  ", command, width)
    assert text.startswith("Next  halfopen ")
    assert all(len(line) <= width for line in text.split("\n"))
    assert shlex.split(text.removeprefix("Next  ").replace("\\\n", " ")) == shlex.split(command)
    assert all(line.endswith(" \\") for line in text.split("\n")[:-1])


def test_in_a_pipe_it_is_one_line() -> None:
    assert commands.filled("Next  ", LONG, None) == f"Next  {LONG}"


def test_who_may_not_change_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "may_change", lambda: False)
    monkeypatch.setattr(commands.shutil, "which", lambda _: "/home/me/.local/bin/halfopen")
    assert commands.runnable("halfopen release --all") == "sudo $(command -v halfopen) release --all"
    assert commands.runnable("sudo halfopen doctor") == "sudo $(command -v halfopen) doctor"
    assert commands.runnable(TWO).count("sudo $(command -v halfopen) tune ") == 2
    assert commands.runnable("halfopen watch --netns release") == "halfopen watch --netns release"
    monkeypatch.setattr(commands.shutil, "which", lambda _: "/usr/bin/halfopen")
    assert commands.runnable("halfopen tune apply --cookies on") == "sudo halfopen tune apply --cookies on"
    monkeypatch.setattr(commands, "may_change", lambda: True)
    assert commands.runnable(LONG) == LONG


def test_who_may_not_load_ebpf_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "may_load", lambda: False)
    monkeypatch.setattr(commands, "may_change", lambda: True)
    monkeypatch.setattr(commands.shutil, "which", lambda _: "/usr/bin/halfopen")
    assert commands.runnable("halfopen handshakes --for 10s") == "sudo halfopen handshakes --for 10s"
    assert commands.runnable("halfopen watch") == "halfopen watch"
    monkeypatch.setattr(commands, "may_load", lambda: True)
    assert commands.runnable("halfopen handshakes --for 10s") == "halfopen handshakes --for 10s"
