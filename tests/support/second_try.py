"""Tests that failed are tried again, as a pytest plugin: they measure a machine that others use at the same time.

A kernel test that fails is tried a second time at once, beside the others. What fails still is kept back until all
tests are over and the workers of pytest-xdist have ended; then each is tried alone, in a process of its own
(`alone.py`). That try counts: the test has passed, or failed with the traceback of that try. The end of the run names
every test that needed more than one try, so that one that needs them often is seen.

When more than MOST have failed, the machine is not to blame, and none is tried alone; nor with --exitfirst and
--maxfail. HALFOPEN_NO_SECOND_TRY=1 turns all of this off.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

import alone
from workers import is_worker

MOST = 15
# The whole run stays below the limit of .ci/run; whoever has used that up before gives each at least a chance.
WHOLE_S, LEAST_S = 960.0, 60.0
_ENDS_S = 20.0
_SECOND, _KEPT = "second_try", "tried_alone"
_LATER = "later"  # the outcome, and the phase, of a report that is kept back
_began = time.monotonic()
_passed: list[str] = []
_remarks: list[str] = []


@dataclass
class Kept:
    """A test that failed, as the run reported it."""

    id: str  # without the name of a group
    said: str
    tries: int
    reports: list[pytest.TestReport] = field(default_factory=list)


_kept: dict[str, Kept] = {}


def _off(config: pytest.Config) -> bool:
    return bool(os.environ.get("HALFOPEN_NO_SECOND_TRY")) or config.pluginmanager.has_plugin(alone.NAME)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if _off(item.config):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    tries, first = 1, _said(reports)
    if first is not None and item.get_closest_marker("kernel"):
        _let_go()
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        tries = 2
    if (said := _said(reports)) is not None:
        parent = f"{item.parent.nodeid}::" if item.parent else ""
        mark: tuple[str, object] = (_KEPT, [f"{parent}{item.name}", said, tries])  # as pytest-xdist can carry it
    else:
        mark = (_SECOND, first)
    for report in reports:
        if first is not None:
            report.user_properties.append(mark)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _said(reports: list[pytest.TestReport]) -> str | None:
    """The first line of a failure; None when the test did not fail."""
    failed = next((report for report in reports if report.failed), None)
    if failed is None:
        return None
    crash = getattr(failed.longrepr, "reprcrash", None)
    return ((crash.message if crash else str(failed.longrepr)).strip().splitlines() or [failed.when or ""])[0]


def _let_go() -> None:
    """Collect what the failed try left behind, a child or a socket, so that no later test is blamed for it."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Keeper:
    """In the process that counts: keeps back the reports of what failed, and has it tried alone at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties = dict(report.user_properties)
        if report.when == "call" and (said := properties.get(_SECOND)) is not None:
            _passed.append(f"passed at the second try: {report.nodeid}: {said}")
        if report.when == _LATER or (failure := properties.pop(_KEPT, None)) is None:
            return
        report.user_properties = list(properties.items())
        kept = _kept.setdefault(report.nodeid, Kept(*failure))
        kept.reports.append(copy.copy(report))
        # Whoever counts neither failures nor passes by this one: it is shown, and told later.
        report.outcome = report.when = _LATER  # type: ignore[assignment]

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        if report.outcome != _LATER:
            return None
        failed = _kept[report.nodeid].reports[-1].failed
        return ("", "a", ("TO BE TRIED ALONE", {"yellow": True})) if failed else ("", "", "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
            if 0 < len(_kept) <= MOST:
                self._try_alone()
            elif _kept:
                _remarks.append(f"{len(_kept)} tests failed; none was tried alone, as they are more than {MOST}")
        finally:
            for nodeid in list(_kept):
                self._report(nodeid, _kept[nodeid].reports)
        return result

    def _report(self, nodeid: str, reports: list[pytest.TestReport]) -> None:
        kept = _kept.pop(nodeid)
        for report in reports:
            report.nodeid = nodeid
            if hasattr(kept.reports[0], "node"):
                report.node = kept.reports[0].node  # type: ignore[attr-defined]
            self.config.hook.pytest_runtest_logreport(report=report)

    def _try_alone(self) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            terminal.write_line("")
            terminal.write_sep("=", f"{len(_kept)} failed: tried alone now, one after another")
        names = {kept.id: nodeid for nodeid, kept in _kept.items()}
        seconds = max(LEAST_S, WHOLE_S - (time.monotonic() - _began))
        with tempfile.TemporaryDirectory(prefix="halfopen-alone-") as directory:
            output = Path(directory) / "output"
            reports: list[pytest.TestReport] = []
            for report in _alone(self.config, list(names), Path(directory) / "reports", output, seconds):
                if report.nodeid not in names:  # what it left behind
                    self.config.hook.pytest_runtest_logreport(report=report)
                    continue
                reports.append(report)
                if report.when == "teardown":
                    self._told(names[report.nodeid], reports)
                    reports = []
            if _kept:
                _remarks.append(f"{len(_kept)} of them could not be tried alone within {seconds:.0f} s; they failed:")
                _remarks.extend([*_kept, *output.read_text(errors="replace").splitlines()[-20:]])

    def _told(self, nodeid: str, reports: list[pytest.TestReport]) -> None:
        kept = _kept[nodeid]
        if not any(report.failed for report in reports):
            which = "third" if kept.tries == 2 else "second"
            _passed.append(f"passed alone at the {which} try: {nodeid}: {kept.said}")
        self._report(nodeid, reports)


def _alone(
    config: pytest.Config, ids: list[str], file: Path, output: Path, seconds: float
) -> Iterator[pytest.TestReport]:
    """The reports of these tests, each as it comes, from a process that runs them one after another."""
    file.touch()
    words = [sys.executable, alone.__file__, str(file), f"--rootdir={config.rootpath}"]
    if config.inipath:
        words += ["-c", str(config.inipath)]
    if config.pluginmanager.hasplugin("xdist"):
        words.append("-n0")
    deadline, rest = time.monotonic() + seconds, ""
    with output.open("wb") as out, file.open() as lines:
        child = subprocess.Popen(
            [*words, *ids], cwd=config.rootpath, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            while True:
                ended = child.poll() is not None or time.monotonic() > deadline
                *whole, rest = (rest + lines.read()).split("\n")
                for line in whole:
                    yield config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
                if ended:
                    return
                time.sleep(0.05)
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """An interrupt lets pytest clean up."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config) and not _off(config) and not config.getoption("maxfail"):
        config.pluginmanager.register(Keeper(config), "halfopen-keeper")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in [*_passed, *_remarks]:
        terminalreporter.write_line(line)
