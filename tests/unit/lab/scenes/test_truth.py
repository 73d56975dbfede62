"""What is true of a scene: who completes, and whether anybody is hostile."""

from __future__ import annotations

import pytest

from halfopen.lab.scenes.truth import Silent, Stream, Truth


def truth(*silent: Silent) -> Truth:
    stream = Stream("192.0.2.1", 443, {"10.64.0.0/16": 12, "10.65.3.0/24": 0}, True, 20, 12, 0, 0.1, 0.2, 0)
    return Truth("idle", 1, (), (), 1.0, streams=(stream,), silent=silent)


@pytest.mark.parametrize(
    ("prefix", "finished"),
    [("10.64.0.0/16", 12), ("10.64.9.9/32", 12), ("10.0.0.0/8", 12), ("10.65.3.0/24", 0), ("2001:db8::/32", 0)],
)
def test_prefixes_that_overlap_count(prefix: str, finished: int) -> None:
    assert truth().completes(prefix) == finished


def test_only_what_was_sent_is_hostile() -> None:
    assert not truth().hostile
    assert not truth(Silent("spoofed", (443,), (), 0)).hostile
    assert truth(Silent("spoofed", (443,), (), 5)).hostile
