"""With LANG=zh_CN.UTF-8 no command shows half a screen in English: terms, names and commands to paste excepted."""
# ruff: noqa: RUF001 (Chinese punctuation is meant)

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

HAN = re.compile("[\u4e00-\u9fff]")
# Names of several words; IDs of causes, which commands take.
TERMS = re.compile(r"[a-z]+(-[a-z]+)+")
COMMAND = re.compile(r"(sudo )?halfopen [a-z][^；，。（）\n]*|systemctl [^；，。\n]*|--[\w-]+")
ENGLISH = re.compile(r"\b[a-z]{2,},? (?:a |of )?[a-z]{2,}")


def english(text: str) -> list[str]:
    """What reads like a piece of an English sentence: two words of lower case, one behind the other."""
    return ENGLISH.findall(TERMS.sub("", COMMAND.sub("", text)))


@pytest.fixture(scope="module")
def flooded(shared: Lab) -> Lab:
    """A lab whose server has a flood on a port and open connections on another."""
    web = shared.server.listen(8080, backlog=4096)
    shared.client.half_open(web, 300)
    shared.settle(300)
    return shared


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("list", "--limit", "3"),
        ("diagnose", "--for", "0"),
        ("advise", "--for", "1s"),
        ("handshakes", "--for", "100ms"),
        ("release-time",),
        ("check",),
        ("closing",),
        ("closing", "list"),
        ("memory",),
        ("tune", "show", "--all"),
        ("tune", "apply", "--release-time", "7s", "--dry-run"),
        ("tune", "listener", ":8080"),
        ("tune", "listener", ":8080", "--retries", "2", "--yes"),
        ("tune", "apply", "--release-time", "7s", "--yes"),
        ("block", "198.51.100.0/24", "--dry-run"),
        ("block", "list"),
        ("protect", ":8080", "--dry-run"),
        ("release", "--older-than", "0.1s", "--dry-run"),
        ("watch", "--for", "100ms"),
        # Refused: a wrong word, a value out of range, a listener that is not there.
        ("list", "--limit", "many"),
        ("release",),
        ("tune", "apply", "--set", "tcp_foo=1"),
        ("tune", "listener", ":8081"),
        ("protect", ":8081", "--dry-run"),
        ("history", "--file", "/nowhere"),
    ],
    ids=" ".join,
)
def test_a_screen_is_chinese(flooded: Lab, words: tuple[str, ...]) -> None:
    env = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "COLUMNS": "80"}
    netns = () if words[0] == "history" else ("--netns", flooded.server.netns_path)
    done = halfopen(*words, *netns, env=env)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert HAN.search(said), said
    assert english(said) == [], said


def test_changes_that_are_undone(lab: Lab) -> None:
    lab.server.listen(8080)
    env, where = {"LC_ALL": "zh_CN.UTF-8"}, ("--netns", lab.server.netns_path)
    assert halfopen("tune", "listener", ":8080", "--retries", "3", "--yes", *where).returncode == 0
    for words in (("tune", "log"), ("tune", "undo", "--all"), ("tune", "log")):
        done = halfopen(*words, env=env)
        assert done.returncode == 0, done.stderr
        assert english(done.stdout) == [], done.stdout
    assert "TCP_SYNCNT 无法取消设置" in done.stdout


def test_a_document_is_english(flooded: Lab) -> None:
    done = halfopen("tune", "show", "--json", "--netns", flooded.server.netns_path, env={"LC_ALL": "zh_CN.UTF-8"})
    assert not HAN.search(done.stdout)
    assert "an unanswered half-open connection is released after" in done.stdout


def test_english_is_seen() -> None:
    assert english("halfopen: release 需要过滤条件；give one of them")
    assert english("下一步  halfopen tune apply --release-time 7s") == []
