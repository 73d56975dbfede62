"""The command `history`: which words it takes, and what its screen and chart show."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from halfopen.cli.history import command
from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.history import HALF_OPEN, Retention, ValueSeen
from halfopen.core.policy.incidents import Incident
from halfopen.ops.history import moment_s, relative_s, wanted_of
from halfopen.present.timechart import time_chart, times
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace, prepare
from halfopen.store.writer import Writer
from rows import SELF

NOON = datetime(2026, 11, 26, 12, 0, 0).timestamp()


def refused(*words: str) -> HalfopenError:
    with pytest.raises(HalfopenError) as raised:
        CliRunner().invoke(command, list(words), catch_exceptions=False)
    return raised.value


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("1h", NOON - 3600),
        ("now", NOON),
        ("11:30", NOON - 1800),
        ("11:30:30", NOON - 1770),
        ("2026-11-25T12:00", NOON - 86400),
        ("2026-11-26", NOON - 43200),
    ],
)
def test_moments(words: str, seconds: float) -> None:
    assert moment_s(words, NOON, what="--since") == pytest.approx(seconds)


@pytest.mark.parametrize("words", ["", "yesterday", "25:00", "2026-13-01", "-1h", "1h30"])
def test_what_no_moment_is(words: str) -> None:
    with pytest.raises(UsageError):
        moment_s(words, NOON, what="--since")


def test_moments_of_an_incident() -> None:
    assert relative_s("+5s", NOON) == NOON + 5
    assert relative_s("-1m", NOON) == NOON - 60
    assert relative_s("12:00:05", NOON) == NOON + 5
    with pytest.raises(UsageError, match="is not a time"):
        relative_s("5", NOON)
    with pytest.raises(UsageError, match="--since is not before --until"):
        wanted_of("1h", "2h", None, (), NOON)


def test_options_without_effect_are_refused() -> None:
    assert refused("--since", "2h", "export").line() == "--since before export has no effect; put --since after it"
    assert refused("--json", "show", "x").exit_code == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = refused("--file", str(tmp_path / "none"))
    assert (error.id, error.exit_code) == ("unknown-target", 3)
    assert "halfopen watch --history DIR keeps one" in error.line()


def test_a_screen(tmp_path: Path) -> None:
    place = HistoryPlace.of(f"{tmp_path}/h/")
    prepare(place, None)
    writer = Writer(place, Retention())
    values = [ValueSeen(SELF, None, HALF_OPEN, NOON - 1800 + at, n) for at, n in enumerate((0, 40, 90, 0))]
    writer.hand(HistoryBatch(NOON - 1800, watched=frozenset({SELF})))
    writer.hand(HistoryBatch(NOON - 900, values))
    assert writer.close() is None
    period = ("--since", "2026-11-26T11:00", "--until", "2026-11-26T12:00")
    shown = CliRunner().invoke(command, ["--file", f"{tmp_path}/h", *period]).output
    first, second, *rest = shown.splitlines()
    assert first == "No incident from 11-26 11:00:00 to 11-26 12:00:00; at most 90 half-open"
    assert second.startswith("Watched for ")
    assert "half-open connections, the most in each" in shown
    assert [line for line in rest if "90 ┤" in line]
    assert shown.rstrip().endswith("Next  halfopen status")
    none = (
        CliRunner()
        .invoke(command, ["--file", f"{tmp_path}/h", "--since", "2020-01-01", "--until", "2020-01-02"])
        .output
    )
    assert none.startswith("Nothing was watched from 01-01 00:00:00 to 01-02 00:00:00\n")
    csv = CliRunner().invoke(command, ["export", "--file", f"{tmp_path}/h", *period]).output.splitlines()
    assert csv[0] == "netns,netns_inode,family,address,port,ifindex,magnitude,step_s,time,min,max,sum,last,count"
    assert len(csv) == 5


def test_an_export_holds_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    place = HistoryPlace.of(f"{tmp_path}/h/")
    prepare(place, None)
    writer = Writer(place, Retention())
    odd = replace(SELF, name="web\x1b[31m\nOK\x9b")
    writer.hand(HistoryBatch(NOON - 900, [ValueSeen(odd, None, HALF_OPEN, NOON - 1000, 40)]))
    assert writer.close() is None
    words = ["export", "--file", f"{tmp_path}/h", "--since", "2026-11-26T11:00", "--until", "2026-11-26T12:00"]
    _, line = CliRunner().invoke(command, words).output.splitlines()
    assert line.startswith("web?[31m?OK?,")


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_chart(ascii_only: bool) -> None:
    lines = time_chart([None, None, 0, 1, 1000, 500, 0], NOON, NOON + 7, rows=4, ascii_only=ascii_only)
    full, floor = ("#", "..-----") if ascii_only else ("█", "..─────")
    assert lines[0].startswith("1,000")
    assert lines[0].count(full) == 1
    assert lines[3].count(full) + lines[3].count("▁") == 3
    assert lines[4].endswith(floor)
    assert all(ord(c) < 128 for line in lines for c in line) == ascii_only


@pytest.mark.parametrize("seconds", [60, 3600, 86400, 7 * 86400])
@pytest.mark.parametrize("width", [10, 60, 190])
def test_times_fit_below_the_chart(width: int, seconds: int) -> None:
    line = times(NOON, NOON + seconds, width)
    assert len(line) <= max(width, 11)


def test_a_proposed_command_finds_the_same_file(tmp_path: Path) -> None:
    folder = tmp_path / "h of mine"
    place = HistoryPlace.of(f"{folder}/")
    prepare(place, None)
    writer = Writer(place, Retention())
    one = Incident("20261126T120000Z-3f9c1a", SELF, (2, "0.0.0.0", 443, 0), NOON - 60, alarm_s=NOON - 59)
    writer.hand(HistoryBatch(NOON - 60, incidents={one.id: one}, watched=frozenset({SELF})))
    assert writer.close() is None
    period = ("--since", "2026-11-26T11:00", "--until", "2026-11-26T12:00")
    shown = CliRunner().invoke(command, ["--file", str(folder), *period]).output
    proposed = [line.partition("halfopen history ")[2] for line in shown.splitlines() if "halfopen history" in line]
    assert [words.split()[0] for words in proposed] == ["replay", "show"]
    done = CliRunner().invoke(command, shlex.split(proposed[1]))
    assert (done.exit_code, done.output.split()[0]) == (0, one.id)
