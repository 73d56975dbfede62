"""Runs tests and writes each report to a file, a line of JSON each: python alone.py FILE PYTEST-WORDS…

`second_try` starts it for tests that failed beside others.
"""

from __future__ import annotations

import json
import sys

import pytest

NAME = "halfopen-alone"


class Recorder:
    """Writes down each report as it comes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.__name__ = NAME  # what it is registered as

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config

    # Last: others change a report, or make one of what was left behind.
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        with open(self.path, "a") as file:
            file.write(json.dumps(data, default=str) + "\n")


if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[2:]], plugins=[Recorder(sys.argv[1])]))
