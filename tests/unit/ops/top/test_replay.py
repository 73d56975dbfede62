"""`top --replay`: the frames are those of then, and keys lead through them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import kept_flood
import live as made
from halfopen.core.findings.verdict import judge
from halfopen.core.flight import FlightReading
from halfopen.linux import tty
from halfopen.ops.history import record_of
from halfopen.ops.top.frames import Frame, frames
from halfopen.ops.top.player import SPEEDS, Player
from halfopen.ops.top.replay import TopReplay
from halfopen.present.language import spoken
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.state import Page, ScreenState
from halfopen.store.database import HistoryPlace
from peers import until
from screens import screen
from terminal import terminal


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        return directory, kept_flood.keep(directory, patch)


@pytest.fixture(scope="module")
def played(kept: tuple[Path, str]) -> list[Frame]:
    _, entries, problem = record_of(HistoryPlace.of(f"{kept[0]}/"), kept[1])
    assert problem == ""
    found = list(frames(entries))
    assert len(found) == sum(isinstance(one, FlightReading) for one in entries)
    return found


def test_frames_are_what_was_seen(kept: tuple[Path, str], played: list[Frame]) -> None:
    at = {round(frame.wall_s - kept_flood.BEGAN_S): frame for frame in played}
    before = at[20].model
    now = at[21]
    assert now.live.spaces[0].verdict == judge(now.model, before.bare())
    assert now.model.half_open == len(kept_flood.reading(21).requests)
    [one] = at[21].live.spaces[0].incidents
    assert (one.id, one.cause, one.stage.value) == (kept[1], "spoofed-flood", "incident")
    assert at[31].live.spaces[0].incidents[0].released > 0
    assert at[5].live.spaces[0].incidents == at[75].live.spaces[0].incidents == ()
    assert len(at[40].live.spaces[0].minute) == 41
    told = [line for frame in played for line in frame.told]
    assert sum("ALARM" in line for line in told) == 1
    assert sum("released" in line for line in told) == 2
    assert "CLEAR" in told[-1]


def test_a_player_goes_on_by_the_clock_and_by_keys() -> None:
    player = Player([0.0, 1.0, 2.0, 12.0, 13.0])
    assert not Player().press("x")
    assert Player().press("]")  # before anything is there
    player.begin(100.0)
    player.advance(100.5)
    assert (player.at, player.next_in_s()) == (0, pytest.approx(0.5))
    player.advance(102.5)
    assert player.at == 2
    assert player.press("+")
    assert (player.speed, player.next_in_s()) == (2.0, pytest.approx(4.75))
    player.press("p")
    player.advance(200.0)
    assert (player.at, player.next_in_s()) == (2, None)
    player.press("]")
    assert player.at == 3
    player.press(".")
    assert player.at == 4
    player.press(".")
    player.press(",")
    assert player.at == 3
    player.press("[")
    assert player.at == 2
    player.press("e")
    assert player.at == 4
    player.moments.append(14.0)  # it was not read to the end yet
    player.advance(250.0)
    assert player.at == 5
    player.moments.pop()
    player.press("b")
    assert player.at == 0
    player.press("p")
    player.advance(300.0)
    assert (player.at, player.next_in_s()) == (4, None)
    for _ in SPEEDS:
        player.press("-")
    assert player.speed == SPEEDS[0]
    assert not player.press("r")


class Terminal(tty.Screen):
    """A screen without a terminal: what is shown is remembered, what is typed comes from a list."""

    def __init__(self, typed: list[bytes]) -> None:
        self.typed, self.written = typed, ""
        self.resized = self.to_suspend = False

    def size(self) -> tuple[int, int]:
        return 80, 24

    def show(self, text: str) -> None:
        self.written += text

    def wake(self) -> None:
        pass

    def lines(self) -> list[str]:
        return screen(self.written, 80, 24)


def shown(kept: tuple[Path, str], *keys: str, language: str = "en") -> list[str]:
    """The screen after these keys, with the whole record read."""
    one, entries, problem = record_of(HistoryPlace.of(f"{kept[0]}/"), kept[1])
    terminal = Terminal([])
    top = TopReplay(one, entries, problem, terminal, Painter(colour=False), ascii_only=False)
    top._read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("halfopen.present.language._preferred", language)
        top._take_news()
        for key in ("p", *keys):
            top._press(key)
            top._take_news()
            top._draw()
    return terminal.lines()


def test_the_screen_says_that_it_is_a_replay_and_of_when(
    kept: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    lines = shown(kept, "]", "]", "]")
    assert lines[0].endswith("PAUSED  REPLAY  2026-11-26 02:55:30")
    assert "31/80  17 s after the first sign" in lines[-2]
    assert lines[-2].index("|") < lines[-2].index("●")
    assert any(line.split()[:2] == [">", ":8080"] for line in lines)
    assert any("half-open connections released" in line or "released" in line for line in lines[-5:-2])
    assert lines[-1].startswith("p play")
    assert "before the first sign" in shown(kept, "b")[-2]
    assert shown(kept, "e")[-2].endswith("END")
    monkeypatch.undo()
    time.tzset()


def test_nothing_is_changed_and_then_s_diagnosis_is_shown(kept: tuple[Path, str]) -> None:
    for key in "rt":
        assert any("This is a replay: nothing is changed" in line for line in shown(kept, key))
    lines = shown(kept, "]", *"......", "d")
    assert any("spoofed-flood" in line for line in lines)
    assert any(line.startswith("Two looks 1.0 s apart") for line in lines)
    details = shown(kept, "]", "]", "enter")
    assert any("not recorded: handshakes are counted while a page is open" in line for line in details)
    assert any("7 to 15 s" in line for line in details)


def test_the_screen_is_chinese_where_that_is_spoken(kept: tuple[Path, str]) -> None:
    lines = shown(kept, "]", "]", language="zh")
    assert "回放" in lines[0].replace(" ", "")
    assert any("监听" in line.replace(" ", "") and "全连接队列" in line.replace(" ", "") for line in lines)


@pytest.mark.parametrize("page", list(Page))
def test_the_live_screen_is_chinese_and_fits(page: Page) -> None:
    from rich.cells import cell_len

    from halfopen.present.screen.styled import plain

    state = ScreenState(several=page is Page.NAMESPACES, page=page, listener=made.KEY)
    with spoken("zh"):
        for columns, rows in ((80, 24), (60, 15), (140, 40)):
            lines = draw(made.live(), state, columns, rows)
            assert len(lines) == rows
            assert all(cell_len(plain(line)) <= columns for line in lines)
        assert "退出" in plain(lines[-1]) or "返回" in plain(lines[-1])


def test_a_replay_needs_a_terminal_and_no_other_options(kept: tuple[Path, str]) -> None:
    from click.testing import CliRunner

    from halfopen.cli.top import command
    from halfopen.core.errors import UsageError

    for words, said in (
        (["--replay", kept[1], "--interval", "2s"], "--replay does not go with --interval"),
        (["--file", f"{kept[0]}/"], "--file is only for --replay"),
        (["--replay", kept[1], "--file", f"{kept[0]}/"], "needs a terminal"),
    ):
        with pytest.raises(UsageError, match=said):
            CliRunner().invoke(command, words, catch_exceptions=False)


def test_it_runs_on_a_terminal(kept: tuple[Path, str]) -> None:
    with terminal("top", "--replay", kept[1], "--file", f"{kept[0]}/") as t:
        until(lambda: "REPLAY" in screen(t.read(), 100, 40)[0])
        t.answer("pe")
        until(lambda: screen(t.read(), 100, 40)[-2].endswith("END"))
        t.answer("q")
        assert t.wait() == 0
        assert "\x1b[?1049l" in t.text
