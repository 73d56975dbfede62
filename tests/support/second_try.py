"""A second try for kernel tests that fail, as a pytest plugin: they measure a machine that others use at the same time.

Each second try is named at the end of the run, so that a test that needs one often is seen. HALFOPEN_NO_SECOND_TRY=1
turns it off.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from workers import KERNEL

_PROPERTY = "second_try"
_tried: dict[str, str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not item.path.is_relative_to(KERNEL) or os.environ.get("HALFOPEN_NO_SECOND_TRY"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if failed := next((report for report in reports if report.failed), None):
        crash = getattr(failed.longrepr, "reprcrash", None)
        said = (crash.message if crash else str(failed.longrepr)).strip().splitlines() or [failed.when or ""]
        _let_go()
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            report.user_properties.append((_PROPERTY, said[0]))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _let_go() -> None:
    """Collect what the failed try left behind, a child or a socket, so that no later test is blamed for it."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, said in report.user_properties:
        if name == _PROPERTY:
            _tried[report.nodeid] = str(said)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for nodeid, said in _tried.items():
        terminalreporter.write_line(f"second try: {nodeid}: {said}")
