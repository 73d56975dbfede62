"""What a release came to, in words."""

from __future__ import annotations

import gc
import io
import sys
from typing import Any

import pytest
from rich.console import Console

from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release, Released
from halfopen.present import text
from rows import SELF


def said(**facts: Any) -> str:
    out = Console(file=io.StringIO(), width=200)
    text.released(out, Released(Release(SELF, Filter(), "a test"), **facts))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("held", [False, True])
def test_where_nothing_matched_there_is_no_time_between_look_and_release(held: bool) -> None:
    assert "0 half-open connections released" in said(held=held, seconds=0.25)
    assert "left 0; 0.25 s\n" in said(held=held, seconds=0.25)


def test_how_sure_it_is_that_nothing_else_was_hit() -> None:
    assert "; 1.00 s, with the door held: their packets were dropped, so none could complete\n" in said(
        matched=2, held=True, seconds=1.0
    )
    assert "; 1.00 s, 3.0 ms between look and release (at most 9.0 ms)\n" in said(
        matched=2, seconds=1.0, window_ms=3.0, window_max_ms=9.0
    )


def test_a_console_that_outlives_the_names_of_its_module_ends_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of Python: since 3.13, a traceback stood below the output of a command that had done well."""
    failures: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    console = text.console()
    console.print("one line")
    with monkeypatch.context() as ending:
        ending.setattr(text, "sys", None)
        del console
        gc.collect()
    assert failures == []
