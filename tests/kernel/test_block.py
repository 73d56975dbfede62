"""`halfopen block`: sources are blocked for a time, others and clients never; it is recorded and undone."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from halfopen.change import blocks
from halfopen.core.units import prefix
from peers import until
from run import document, halfopen, one_line

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def inside(lab: Lab) -> tuple[str, ...]:
    return "--netns", lab.server.netns_path


def connects(lab: Lab, port: int, target: str) -> bool:
    def attempt() -> bool:
        try:
            socket.create_connection((target, port), 0.3).close()
        except TimeoutError:
            return False
        return True

    return lab.client.run(attempt)


def test_a_source_is_blocked_and_unblocked(lab: Lab) -> None:
    for port in (8080, 8081):
        lab.server.listen(port, "::")
    lab.server.set_sysctl("net.ipv4.tcp_no_metrics_save", 1)
    made = document(
        "block", lab.client.v4, "2001:db8:1::2/128", "--port", "8080", "--reason", "test", "--json", *inside(lab)
    )
    assert (made["action"], made["sources"]) == ("block", [f"{lab.client.v4}/32", "2001:db8:1::2/128"])
    for target in (lab.server.v4, lab.server.v6):
        assert not connects(lab, 8080, target)
        assert connects(lab, 8081, target)
    listed = document("block", "list", "--json", *inside(lab))["blocks"]
    assert [(one["source"], one["port"]) for one in listed] == [
        (f"{lab.client.v4}/32", 8080),
        ("2001:db8:1::2/128", 8080),
    ]
    assert all(590 < one["left_s"] <= 600 for one in listed)
    done = halfopen("unblock", "--all", *inside(lab))
    assert done.stdout == f"{lab.client.v4}/32, 2001:db8:1::2/128 no longer blocked\n", done.stderr
    assert connects(lab, 8080, lab.server.v4)
    assert lab.server.exec(["nft", "list", "tables"]).stdout == ""
    recorded = [json.loads(line) for line in Path(os.environ["HALFOPEN_AUDIT_LOG"]).read_text().splitlines()]
    assert [(one["action"], one["phase"]) for one in recorded] == [
        *[("block", "begin"), ("block", "done")],
        *[("unblock", "begin"), ("unblock", "done")],
    ]
    assert recorded[0]["reason"] == "test"


def test_a_block_ends_by_itself_and_can_be_set_anew(lab: Lab) -> None:
    for time in ("1h", "1s"):
        assert halfopen("block", "203.0.113.0/24", "--for", time, *inside(lab)).returncode == 0
    until(lambda: document("block", "list", "--json", *inside(lab))["blocks"] == [], 20)


def test_who_must_not_be_blocked_is_not(lab: Lab, tmp_path: Path) -> None:
    listener = lab.server.listen(8080)
    refused: Callable[..., str] = lambda *words, **more: one_line(halfopen("block", *words, *inside(lab), **more), 3)  # noqa: E731
    assert "it holds an address of this host" in refused(f"{lab.server.v4}/32")
    honest = lab.client.connect(listener, 1)
    assert "one of the clients there finished a handshake" in refused(lab.client.v4)
    honest.close()
    config = tmp_path / "halfopen.toml"
    config.write_text('[never]\nsources = ["198.51.100.0/24"]\n')
    assert "never.sources of the configuration" in refused("198.51.100.7", "--config", str(config))
    ssh: Any = {"SSH_CONNECTION": "203.0.113.9 50000 192.0.2.1 22"}
    assert "you are connected from 203.0.113.9 by SSH" in refused("203.0.113.0/24", env=ssh)
    for everybody in ("0.0.0.0/0", "::/0", "2000::/3", "192.0.0.0/7"):
        assert "covers far more than one network" in refused(everybody)
    assert lab.server.exec(["nft", "list", "tables"]).stdout == ""


def test_blocks_that_overlap_are_refused_in_words(lab: Lab) -> None:
    assert halfopen("block", "203.0.113.0/24", *inside(lab)).returncode == 0
    assert halfopen("block", "198.51.100.0/24", "--port", "80", *inside(lab)).returncode == 0
    for words, said in (
        (("203.0.113.7",), "203.0.113.7/32 overlaps 203.0.113.0/24, which is blocked for another "),
        (("203.0.113.7", "--port", "443"), "first run halfopen unblock 203.0.113.0/24"),
        (("203.0.112.0/23",), "203.0.112.0/23 overlaps 203.0.113.0/24"),
        (("198.51.100.7",), "198.51.100.7/32 overlaps 198.51.100.0/24 to :80"),
        (("100.64.9.0/25", "100.64.9.9"), "100.64.9.9/32 and 100.64.9.0/25 overlap"),
    ):
        assert said in one_line(halfopen("block", *words, *inside(lab)), 3)
    assert "overlaps" in one_line(halfopen("block", "203.0.113.7", "--dry-run", *inside(lab)), 3)
    assert halfopen("block", "198.51.100.7", "--port", "443", *inside(lab)).returncode == 0


def test_what_others_do_to_the_table_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block ends, and a firewall is loaded anew, between the look at the blocks and their change."""
    one, other = prefix("203.0.113.0/24"), prefix("2001:db8::/32")

    def meanwhile(*words: str) -> None:
        look = blocks.blocked

        def looked() -> list[blocks.BlockedSource]:
            found = look()
            monkeypatch.setattr(blocks, "blocked", look)
            blocks._nft("\n".join(words))
            return found

        monkeypatch.setattr(blocks, "blocked", looked)

    def work() -> list[list[str]]:
        left = []
        blocks.block([one, other], None, 60)
        ended = blocks.BlockedSource(one, None, 1)
        for act in (lambda: blocks.block([one], None, 60), lambda: blocks.unblock([ended])):
            meanwhile("delete element inet halfopen_blocks sources_v4 { 203.0.113.0/24 . 0-65535 }")
            act()
            left.append([str(found.source) for found in blocks.blocked()])
        for act in (lambda: blocks.block([one], None, 60), lambda: blocks.unblock(blocks.blocked())):
            meanwhile("flush ruleset")
            act()
            left.append([str(found.source) for found in blocks.blocked()])
        return left

    assert lab.server.run(work) == [["203.0.113.0/24", "2001:db8::/32"], ["2001:db8::/32"], ["203.0.113.0/24"], []]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("block", "nonsense"), 2, "is not an address or prefix"),
        (("block", "203.0.113.7", "--for", "30d"), 2, "--for 30d is out of range"),
        (("block", "203.0.113.7", "--port", "0"), 2, "is not a port"),
        (("block", "list", "203.0.113.7"), 2, "block list stands alone"),
        (("unblock",), 2, "unblock needs sources, or --all"),
        (("unblock", "203.0.113.7"), 3, "is not blocked by halfopen here"),
    ],
)
def test_wrong_words(words: tuple[str, ...], code: int, said: str) -> None:
    assert said in one_line(halfopen(*words), code)
