"""Each key of `halfopen top`, pressed on a pseudo-terminal: what it shows, and what it changes or does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from screens import screen
from terminal import Terminal, terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab

COLUMNS, ROWS = 100, 40


def lines(t: Terminal) -> list[str]:
    return screen(t.read(), COLUMNS, ROWS)


def press(t: Terminal, key: str, then: str) -> str:
    """Press a key and wait for what it brings; the whole screen."""
    t.answer(key)
    until(lambda: then in "\n".join(lines(t)))
    return "\n".join(lines(t))


def ports(t: Terminal) -> list[str]:
    """The listeners in the order of their rows, and the selected one marked."""
    shown = lines(t)
    [at] = [i for i, line in enumerate(shown) if line.split()[:1] == ["LISTENER"] and "SYN QUEUE" in line]
    rows = shown[at + 1 : shown.index("", at)]
    return [line.replace("> ", ">").split()[0] for line in rows]


def test_keys_that_look(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=1024)
    lab.server.listen(443)
    lab.client.half_open(web, 60).settled()
    with terminal("top", "--netns", lab.server.netns_path) as t:
        until(lambda: "60 half-open connections" in "\n".join(lines(t)))
        # The order: by the most half-open ones first, by port in the end; inverted; and back.
        assert ports(t) == [">:8080", ":443"]
        press(t, "S", "Sorted by port")
        until(lambda: ports(t) == [">:443", ":8080"])
        press(t, "I", "Sorted by port, inverted")
        until(lambda: ports(t) == [">:8080", ":443"])
        press(t, "s", "Sorted by half-open")
        t.answer("j")
        until(lambda: ports(t) == [":8080", ">:443"])
        t.answer("\x1b[A")
        until(lambda: ports(t) == [">:8080", ":443"])
        # The filter.
        t.answer("/44")
        until(lambda: "Filter: 44" in "\n".join(lines(t)))
        press(t, "\r", "filter: 44")
        until(lambda: ports(t) == [">:443"])
        t.answer("\x1b")
        until(lambda: ports(t) == [">:8080", ":443"])
        # Paused: the clock stands, and goes on.
        paused = press(t, "p", "PAUSED").splitlines()[0]
        lab.client.half_open(web, 7).settled()
        press(t, "n", "halfopen top --netns all shows every one")
        assert lines(t)[0] == paused
        assert "67 half-open" not in "\n".join(lines(t))
        press(t, "p", "67 half-open connections")
        assert "PAUSED" not in lines(t)[0]
        # The details of the listener, and help; each with a way back.
        shown = press(t, "\r", "Held by")
        assert re.search(r"SYN QUEUE +67/1,024", shown)
        for words in ("Age of half-open connections", "SYN-ACK retransmitted", "Handshakes since this page was opened"):
            assert words in shown
        press(t, "q", "LISTENER")
        press(t, "?", "Ctrl-Z")
        press(t, "q", "LISTENER")
        t.answer("q")
        assert t.wait() == 0
    assert lab.server.half_open() == 67


@pytest.mark.slow
def test_a_closer_look(lab: Lab) -> None:
    lab.client.half_open(lab.server.listen(8080, backlog=1024), 60).settled()
    with terminal("top", "--netns", lab.server.netns_path) as t:
        until(lambda: "60 half-open connections" in "\n".join(lines(t)))
        press(t, "d", "looking for causes for 5 s")
        until(lambda: lines(t)[0].startswith("halfopen top  diagnose of"))
        assert "Ruled out" in "\n".join(lines(t))
        press(t, "q", "LISTENER")
        t.answer("q")
        assert t.wait() == 0
    assert lab.server.half_open() == 60


def test_the_change_that_a_finding_proposes(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    lab.client.half_open(web, 60).settled()
    audit = tmp_path / "audit.jsonl"
    with terminal("top", "--netns", lab.server.netns_path, "--audit-log", str(audit), "--reason", "a test") as t:
        until(lambda: "60 half-open connections" in "\n".join(lines(t)))
        shown = press(t, "t", "Change this?")
        command = f"halfopen tune apply --netns {lab.server.netns_path} --cookies on"
        assert command in shown.partition("Command")[2]
        assert "tcp_syncookies   0 → 1" in shown
        assert lab.server.sysctl("net.ipv4.tcp_syncookies") == "0"
        press(t, "n", "Nothing was changed")
        assert not audit.exists()
        press(t, "t", "Change this?")
        press(t, "y", "tcp_syncookies")
        until(lambda: lab.server.sysctl("net.ipv4.tcp_syncookies") == "1")
        until(lambda: lines(t)[0].startswith("halfopen top  tune"))
        press(t, "q", "LISTENER")
        t.answer("q")
        assert t.wait() == 0
    done = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [one["phase"] for one in done] == ["begin", "done"]
    assert done[0]["reason"] == "a test"
