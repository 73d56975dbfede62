"""Proposed commands: whole words at every width, one command to a shell, and by sudo for who may not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from halfopen.present import commands, reader, terminal

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


def test_in_a_clone_the_command_is_called_as_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = _program(tmp_path, "bin dir/halfopen")
    monkeypatch.setattr(commands.sys, "argv", [ours, "status"])
    monkeypatch.setattr(commands.shutil, "which", lambda _: None)
    monkeypatch.setattr(commands, "may_change", lambda: True)
    assert commands.runnable("halfopen watch") == f"'{ours}' watch"
    assert commands.runnable(TWO).count(f"'{ours}' tune ") == 2
    assert commands.runnable("kill -CONT 7") == "kill -CONT 7"
    monkeypatch.setattr(commands, "may_change", lambda: False)
    assert commands.runnable("halfopen release --all") == f"sudo '{ours}' release --all"
    monkeypatch.setattr(commands.shutil, "which", lambda _: "/usr/bin/halfopen")
    assert commands.runnable("halfopen watch") == "halfopen watch"


def test_a_module_or_another_program_is_no_way_to_call_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands.shutil, "which", lambda _: None)
    for path in (_program(tmp_path, "pytest"), str(tmp_path / "gone/halfopen"), "-m"):
        monkeypatch.setattr(commands.sys, "argv", [path])
        assert commands.runnable("halfopen watch") == "halfopen watch"


def test_after_sudo_every_command_is_by_sudo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shell in which `sudo halfopen status` was typed is not root's."""
    monkeypatch.setattr(commands, "_came_by_sudo", lambda: True)
    monkeypatch.setattr(commands.shutil, "which", lambda _: "/usr/bin/halfopen")
    assert commands.runnable("halfopen watch") == "sudo halfopen watch"
    assert commands.runnable("sudo halfopen tune log") == "sudo halfopen tune log"
    assert commands.runnable(TWO).count("sudo halfopen tune ") == 2
    assert commands.runnable("kill -CONT 7") == "sudo kill -CONT 7"
    assert commands.runnable("echo 0 > '/sys/a b'") == "echo 0 | sudo tee '/sys/a b'"
    ours = _program(tmp_path, "halfopen")
    monkeypatch.setattr(commands.sys, "argv", [ours])
    monkeypatch.setattr(commands.shutil, "which", lambda _: None)
    assert commands.runnable("halfopen watch") == f"sudo {ours} watch"


def test_the_rights_are_those_of_whoever_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        def has(self, capability: str) -> bool:
            return capability in ("CAP_BPF", "CAP_PERFMON")

        def of_machine(self) -> bool:
            return True

        def by_sudo(self) -> bool:
            return True

    monkeypatch.undo()
    monkeypatch.setattr(reader, "_rights", Loader())
    assert (commands.may_change(), commands.may_load()) == (False, True)
    assert commands.runnable("kill -CONT 7") == "sudo kill -CONT 7"
    monkeypatch.setenv(terminal.FOR_OTHERS, "1")
    assert (commands.may_change(), commands.may_load()) == (False, False)
    assert commands.runnable("kill -CONT 7") == "kill -CONT 7"


def _program(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o755)
    return str(path)
