"""The suite's two promises, as a pytest plugin: it leaves nothing behind, and where it must not skip it does not.

tests/conftest.py registers it. A thing left after the last test is an error like any other: the summary counts it.
With pytest-xdist each worker looks for itself, and the process that started the workers looks once more at the end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

import forked
import leftovers

REQUIRED = "HALFOPEN_REQUIRE_KERNEL"
# How long what is left may take to go: on a busy machine a process takes seconds to end.
PATIENCE = "HALFOPEN_TEST_PATIENCE_S"
_PATIENCE_S = 15.0
_before = pytest.StashKey[leftovers.State]()
_failed = pytest.StashKey[bool]()
_OUTPUT = "halfopen-leftovers"


def skips_forbidden() -> bool:
    """Whether this run promised to run every test."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


def hear_signals() -> None:
    """Let children start with the default for each signal, as tests send them.

    In the background of a script SIGINT and SIGQUIT are ignored, below nohup SIGHUP, and children inherit it. A signal
    with a handler is set back to the default for them.
    """

    def nothing(*_: object) -> None:
        pass

    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else nothing)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    hear_signals()
    leftovers.mark_this_run()
    leftovers.move_away()
    session.stash[_before] = leftovers.look()


# Last: the workers of pytest-xdist and the fixtures of the whole session are gone by then.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _before not in session.stash:
        return
    forked.close()
    worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    # Other workers of this run live beside a worker: only the whole run can tell whose an eBPF program without a
    # holder is.
    patience_s = float(os.environ.get(PATIENCE) or _PATIENCE_S)
    left = leftovers.leftovers(session.stash[_before], patience_s=patience_s, orphans=worker is None)
    if worker is not None:
        worker[_OUTPUT] = left
        return
    _complain(session, left, "The tests are over")
    if session.stash.get(_failed, False) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that runs the workers: one of them ended."""
    left = getattr(node, "workeroutput", {}).get(_OUTPUT, [])
    _complain(node.config.pluginmanager.get_plugin("session"), left, f"Worker {node.gateway.id} has run its tests")


def _complain(session: pytest.Session, left: list[str], when: str) -> None:
    if not left:
        return
    text = f"{when}, and this is still there:\n" + "\n".join(f"  {line}" for line in left)
    report = pytest.TestReport("leftovers", ("leftovers", None, "leftovers"), {}, "failed", text, "teardown")
    session.stash[_failed] = True
    session.config.hook.pytest_runtest_logreport(report=report)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too; it did run.
    if report.skipped and not hasattr(report, "wasxfail") and skips_forbidden():
        report.outcome = "failed"
        report.longrepr = _complaint(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and skips_forbidden():
        report.outcome = "failed"
        report.longrepr = _complaint(report.longrepr)
    return report


def _complaint(longrepr: object) -> str:
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return f"{REQUIRED} is set, so nothing may be skipped. {reason}"
