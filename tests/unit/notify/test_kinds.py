"""The registry of receivers: every kind of the configuration has a class that is a receiver."""

from __future__ import annotations

import pytest

from halfopen.core.sections.notify import KINDS
from halfopen.notify.kinds import receiver as made
from notices import receiver


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_made(kind: str) -> None:
    one = made(receiver(kind, url="http://127.0.0.1:1", command=("/bin/true",)))
    assert one.batch >= 1
    assert callable(one.send)
    assert KINDS[kind].made_by.endswith(f".{type(one).__name__}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_needs_only_keys_that_it_has(kind: str) -> None:
    entry = KINDS[kind]
    assert set(entry.needs) <= set(entry.keys)
    assert bool(entry.needs) == bool(entry.lacks) == bool(entry.hint)
