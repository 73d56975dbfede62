"""With how many examples Hypothesis tries a property: with all of them, or with a fifth of them in `make quick`."""

from __future__ import annotations

import os

import hypothesis

QUICK = "HALFOPEN_TEST_QUICK"
_SHARE, _LEAST = 5, 10


def count(full: int) -> int:
    """So many of `full` examples are tried in this run."""
    return min(full, max(_LEAST, full // _SHARE)) if os.environ.get(QUICK) else full


def examples(full: int, *, derandomize: bool = True) -> hypothesis.settings:
    """Settings of a test of `full` examples, the same in each run unless derandomize is false."""
    return hypothesis.settings(max_examples=count(full), deadline=None, derandomize=derandomize)
