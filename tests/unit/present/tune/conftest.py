"""A screen that remembers what it was shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console


@pytest.fixture
def out() -> Console:
    return Console(record=True, width=200, quiet=False, file=open("/dev/null", "w"))


@pytest.fixture(autouse=True)
def _close(out: Console) -> Iterator[None]:
    yield
    out.file.close()
