"""Commands tell their outcome in the language of the reader."""
# ruff: noqa: RUF001 (Chinese punctuation is meant)

from __future__ import annotations

from collections.abc import Iterator

import pytest

from halfopen.cli import progress, release
from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Did, Trouble
from halfopen.present import language
from halfopen.present.watchlines import TextLines
from rows import SELF

ACTION = Release(SELF, Filter(older_than_s=3), "a test")


@pytest.fixture(autouse=True)
def chinese() -> Iterator[None]:
    language.prefer("zh")
    yield
    language.prefer(language.ENGLISH)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_release_and_its_dry_run(dry_run: bool, capsys: pytest.CaptureFixture[str]) -> None:
    release._show([Released(ACTION, dry_run=dry_run, matched=1200, released=0 if dry_run else 1200)], False, False)
    first = capsys.readouterr().out.splitlines()[0]
    assert ("将释放 1,200 个半连接" if dry_run else "已释放 1,200 个半连接") in first
    release._show([Released(ACTION), Released(ACTION)], False, True)
    assert capsys.readouterr().out == "任何命名空间中都没有匹配的半连接\n"


def test_the_lines_of_a_watch() -> None:
    lines = TextLines(False)
    lines.lines(Begun(1.0, Policy()))
    apart = HalfopenError("readings-apart", "readings are 1s apart again")
    [line] = lines.lines(Trouble("watch", apart))
    assert line.endswith("读数间隔已恢复为 1s")
    done = Released(ACTION, matched=7, released=7, resets=2)
    [line] = lines.lines(Did(done))
    assert "已释放 7 个半连接" in line
    assert line.endswith("其间发送了 2 个 RST")


def test_how_long_a_command_takes() -> None:
    assert progress.line("watching handshakes", 3.4, 10.0) == "正在观察握手：3 秒 / 10 秒"
    assert progress.line("looking for causes", 70.0, None) == "正在查找原因：70 秒"
    language.prefer(language.ENGLISH)
    assert progress.line("watching handshakes", 3.4, 10.0) == "watching handshakes: 3 s of 10 s"
