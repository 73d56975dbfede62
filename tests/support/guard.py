"""The suite's two promises, as a pytest plugin: it leaves nothing behind, and where it must not skip it does not.

tests/conftest.py registers it. What is left after the last test is an error like any other: the summary counts it.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

import leftovers

REQUIRED = "HALFOPEN_REQUIRE_KERNEL"
_before = pytest.StashKey[leftovers.State]()


def skips_forbidden() -> bool:
    """Whether this run promised to run every test."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    leftovers.mark_this_run()
    session.stash[_before] = leftovers.look()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _before not in session.stash:
        return
    left = leftovers.leftovers(session.stash[_before])
    if not left:
        return
    text = "The tests are over, and this is still there:\n" + "\n".join(f"  {line}" for line in left)
    report = pytest.TestReport("leftovers", ("leftovers", None, "leftovers"), {}, "failed", text, "teardown")
    session.config.hook.pytest_runtest_logreport(report=report)
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
