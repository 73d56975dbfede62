"""Values of the wrong type are refused in words, before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

import halfopen
from halfopen.core.errors import UsageError


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"listener": 8080}, "listener must be text, not 8080"),
        ({"listener": (":80", 443)}, "listener must be text"),
        ({"source": 5}, "source must be text, not 5"),
        ({"source": b"10.0.0.0/8"}, "source must be text"),
        ({"netns": -1, "all": True}, "netns must be text, not -1"),
        ({"netns": b"web", "all": True}, "netns must be text"),
        ({"older_than": True}, "--older-than True is not possible"),
        ({"older_than": [10]}, "is not possible"),
        ({"retransmits": "3"}, "--retransmits 3 is not possible"),
        ({"retransmits": True}, "--retransmits True is not possible"),
    ],
)
def test_a_wrong_type_is_a_usage_error(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match="not") as refused:
        halfopen.release(**given, dry_run=True)
    assert told in refused.value.message


def test_a_namespace_that_is_no_text_is_not_looked_at() -> None:
    wrong: Any = 3.5
    with pytest.raises(UsageError, match="netns must be text"):
        halfopen.snapshot(wrong)
