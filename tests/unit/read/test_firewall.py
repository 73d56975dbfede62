"""Rules that would drop what a guard lets in, as `nft list ruleset` prints them."""

from __future__ import annotations

import pytest

from halfopen.read.firewall import new_without_syn, tracks


@pytest.mark.parametrize(
    "line",
    [
        "tcp flags & (fin | syn | rst | ack) != syn ct state new drop",
        "ct state new tcp flags != syn counter packets 0 bytes 0 drop",
        "meta l4proto tcp tcp flags != syn / fin,syn,rst,ack ct state invalid,new counter packets 0 bytes 0 reject",
    ],
)
def test_rules_that_would_drop(line: str) -> None:
    assert new_without_syn(("table inet filter {", line)) == line
    assert tracks((line,))


@pytest.mark.parametrize(
    "line",
    [
        "ct state new accept",
        "ct state invalid drop",
        "tcp flags syn ct state new limit rate 10/second accept",
        "tcp flags & (fin | syn | rst | ack) == syn ct state new drop",
        "tcp dport 443 accept",
    ],
)
def test_rules_that_would_not(line: str) -> None:
    assert new_without_syn((line,)) == ""
