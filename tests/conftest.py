"""For every test: nothing is left behind, and where HALFOPEN_REQUIRE_KERNEL is set nothing is skipped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

# Before anything loads numpy: its threads would keep this process from entering a user namespace.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Ordinary users of Debian and Ubuntu have 002, with which a test makes files that halfopen refuses.
os.umask(0o022)
# Commands that sudo started propose commands with sudo; those of a test are not meant.
os.environ.pop("SUDO_UID", None)

# What is compiled, rewritten assertions too, is kept for the other workers and the processes that tests start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import hypothesis
import pytest

import examples
import guard
import second_try
import workers

# Asked before plugins can be registered.
from workers import pytest_xdist_auto_num_workers as pytest_xdist_auto_num_workers

# Others may use the machine meanwhile: how long an example takes says nothing.
hypothesis.settings.register_profile(
    "shared",
    max_examples=examples.count(100),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("shared")
    config.pluginmanager.register(guard, "halfopen-guard")
    config.pluginmanager.register(workers, "halfopen-workers")
    config.pluginmanager.register(second_try, "halfopen-second-try")


@pytest.fixture(scope="session", autouse=True)
def _programs_unloaded() -> Iterator[None]:
    """The eBPF programs that readings in this process loaded go with the tests, not only with the process."""
    yield
    if (kept := sys.modules.get("halfopen.read.bpf.programs")) is not None:
        kept.close()
