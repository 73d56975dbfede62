"""Running the tests side by side with pytest-xdist (`-n auto`), as a pytest plugin; tests/conftest.py registers it.

Without root the kernel tests run as root of a user namespace. Only a process with one thread can enter one, and the
workers of pytest-xdist have threads from the start: the process that starts them enters it first.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

KERNEL = Path(__file__).resolve().parents[1] / "kernel"
_INSIDE = f"{KERNEL}{os.sep}"
_ROOT = "halfopen-root"
_root = pytest.StashKey[bool]()
_running: dict[str, None] = {}  # tests that began and have not ended, here or in the workers


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def is_root(config: pytest.Config) -> bool:
    """Whether this run was started by the machine's root: in a user namespace every process looks like root."""
    return bool(getattr(config, "workerinput", {}).get(_ROOT, os.geteuid() == 0))


def is_kernel_test(item: pytest.Item) -> bool:
    """Whether a test is one of tests/kernel. Asked of every test: Path.is_relative_to takes fifty times as long."""
    return str(item.path).startswith(_INSIDE)


def refusal() -> str | None:
    """Why no kernel test can run here; None when they can."""
    if not sys.platform.startswith("linux"):
        return f"needs Linux; this is {sys.platform}"
    if not shutil.which("ip"):
        return "needs the ip command: apt-get install iproute2"
    from halfopen.lab import user_namespace_refusal

    return user_namespace_refusal()


def enter_user_namespace() -> None:
    """Make this process one that can make labs, where the machine allows it; root can already."""
    if refusal():
        return
    from halfopen.lab import enter_user_namespace

    # Its root is still who it was: pytest's temporary directory is named after, and owned by, that user.
    os.environ.setdefault("LOGNAME", getpass.getuser())
    enter_user_namespace()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many worker processes `-n auto` means; 0 runs the tests in this process.

    Many kernel tests wait rather than compute, so there are more workers than processors. A single test, or a run
    that shows output as it comes (-s), needs no workers.
    """
    if wanted := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", "").strip():
        return int(wanted)
    if config.option.capture == "no" or any("::" in word for word in config.args):
        return 0
    processors = len(os.sched_getaffinity(0))
    return min(8, 3 * processors) if _may_choose_kernel_tests(config) else processors


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    config.stash[_root] = os.geteuid() == 0
    if _may_choose_kernel_tests(config):
        enter_user_namespace()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[_ROOT] = node.config.stash[_root]


# First, as pytest-xdist then writes the names of groups into the names of tests.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, start the longest first: no worker begins one when the others have nothing left to do."""
    if is_worker(config):
        items.sort(key=lambda item: (not item.get_closest_marker("slow"), not is_kernel_test(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where groups are not kept together, every worker would play every scene: tests would pass in twice the time."""
    if is_worker(session.config) and session.config.getvalue("loadgroup"):
        grouped = (item for item in session.items if item.get_closest_marker("xdist_group"))
        if apart := next((item for item in grouped if "@" not in item.nodeid), None):
            said = f"{apart.nodeid}: this pytest and this pytest-xdist do not keep groups together"
            os.write(2, f"{said}\n".encode())  # the process that started the workers tells only that they ended
            raise pytest.UsageError(said)


def pytest_runtest_logstart(nodeid: str) -> None:
    _running[nodeid] = None


def pytest_runtest_logfinish(nodeid: str) -> None:
    _running.pop(nodeid, None)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Interrupted (in CI: because a test hung), say which tests were at work."""
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        for nodeid in _running:
            terminalreporter.write_line(f"still running: {nodeid}")


def _may_choose_kernel_tests(config: pytest.Config) -> bool:
    for word in config.args:
        path = (config.invocation_params.dir / word.partition("::")[0]).resolve()
        if path.is_relative_to(KERNEL) or KERNEL.is_relative_to(path):
            return True
    return False
