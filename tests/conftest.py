"""For every test: nothing is left behind, and where HALFOPEN_REQUIRE_KERNEL is set nothing is skipped."""

from __future__ import annotations

import os

# Before anything loads numpy: its threads would keep this process from entering a user namespace.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

import guard


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(guard, "halfopen-guard")
