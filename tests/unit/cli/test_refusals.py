"""How the command line refuses what it was given: one line, in words that say what is wrong."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from halfopen.cli import main
from run import told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lab", "--half-open", "1e9"), "'1e9' is not an integer"),
        (("lab", "--rate", "fast"), "'fast' is not a number"),
        (("list", "--listener", b"\xff:1"), r"'\xff' is not an address"),
    ],
    ids=["a whole number", "a number", "no UTF-8"],
)
def test_a_value_is_refused_in_plain_words(words: tuple[str | bytes, ...], said: str) -> None:
    done = told(*map(os.fsdecode, words))
    assert done.returncode == 2
    assert said in done.stderr
    assert "range" not in done.stderr
    assert "udc" not in done.stderr


@pytest.mark.parametrize("group", ["service", "notify"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    done = told(group)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: halfopen {group} ")
    assert "\nCommands:\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("completion",), "Missing argument '{bash|zsh|fish}'. (see halfopen completion --help)"),
        (("tune", "listener", "--backlog"), "'--backlog' requires an argument. (see halfopen tune listener --help)"),
        (("--nosuch",), "--nosuch (see halfopen --help)"),
    ],
    ids=["an argument with choices", "an option without its value", "no command"],
)
def test_the_command_is_named_whose_help_says_more(words: tuple[str, ...], said: str) -> None:
    done = told(*words)
    assert done.returncode == 2
    # click 8.4 put quotes around the option, and a full stop behind it.
    assert done.stderr.endswith(f"{said}\n") or done.stderr.replace("'. (", " (").endswith(f"{said}\n")


def test_a_damaged_journal_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tune.jsonl").write_text("{}\n")
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path))
    done = told("tune", "log")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("line 1: Object missing") == 1


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "zh"), ("gb2312", "zh"), ("ascii", "en"), ("latin-1", "en")])
def test_an_output_without_chinese_letters_is_in_english(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert main._shown("zh") == shown
    assert main._shown("en") == "en"


def test_a_service_that_is_installed_as_it_should_be_is_told_so(tmp_path: Path) -> None:
    assert told("service", "install", "--root", str(tmp_path)).stdout.startswith("wrote ")
    done = told("service", "install", "--root", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "nothing to write: every file is as it should be\n")
