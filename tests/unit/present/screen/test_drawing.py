"""The screen as lines: whole screens against files, and what holds for every size."""

from __future__ import annotations

import functools
import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from rich.cells import cell_len

import live as made
from halfopen.core.fields.live import LIVE_SOURCE
from halfopen.core.findings.verdict import judge
from halfopen.core.live import Live, LiveDetails, LiveSource
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.histogram import Histogram
from halfopen.core.policy.actions import Look
from halfopen.core.sample import Completeness
from halfopen.core.sample.handshakes import BUCKETS, RETRANSMITS
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.present.language import spoken
from halfopen.present.screen.drawing import draw, scrolled_most
from halfopen.present.screen.help import help_lines
from halfopen.present.screen.state import Page, Question, ScreenState
from halfopen.present.screen.styled import plain, styled
from halfopen.present.screen.tables import table

HERE = Path(__file__).parent
SIZES = ((80, 24), (140, 40))


class _Utc(datetime):
    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> _Utc:
        return super().fromtimestamp(timestamp, tz or UTC)


@pytest.fixture(autouse=True)
def plain_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time and the same privileges everywhere."""
    monkeypatch.setattr("halfopen.present.screen.drawing.datetime", _Utc)
    monkeypatch.setattr("halfopen.present.commands.may_change", lambda: True)
    monkeypatch.setattr("halfopen.present.commands.may_load", lambda: True)


def details() -> LiveDetails:
    before = Workers(98.0, {4711: WorkerState(4711, 1, "S", ("ep_poll",), ran_s=1.0)})
    now = WorkerState(4711, 1, "S", ("ep_poll",), descriptors=12, descriptor_limit=1024, ran_s=1.06)
    workers = Workers(100.0, {4711: now}, earlier=before)
    return LiveDetails(1, made.KEY, (0, 0, 300, 0, 0, 0, 0), None, "eBPF is refused", workers)


@functools.cache
def scenes() -> dict[str, tuple[Live, ScreenState]]:
    question = Question("Release 300 half-open connections (older than 3 s, on :8080)?", (styled("a note"),), ages=True)
    several = made.live(made.calm("db"), made.space(made.flooded(where=made.named("web"))))
    page = {page: ScreenState(several=page is Page.NAMESPACES, page=page, listener=made.KEY) for page in Page}
    return {
        "listeners": (made.live(), page[Page.LISTENERS]),
        "question": (made.live(), page[Page.LISTENERS].with_question(question)),
        "details": (made.live(details=details()), page[Page.DETAILS]),
        "namespaces": (several, page[Page.NAMESPACES]),
        "help": (made.live(), page[Page.LISTENERS].with_text("Help", help_lines())),
    }


@pytest.mark.parametrize(("columns", "rows"), SIZES)
@pytest.mark.parametrize("name", scenes())
def test_a_screen_is_what_it_was(name: str, columns: int, rows: int) -> None:
    """HALFOPEN_WRITE_SCREENS=1 writes the files anew: look at them before they are committed."""
    lines = draw(*scenes()[name], columns, rows)
    assert len(lines) == rows
    assert all(cell_len(plain(line)) <= columns for line in lines)
    path = HERE / "screens" / f"{name}-{columns}x{rows}.txt"
    text = made.shown(lines)
    if os.environ.get("HALFOPEN_WRITE_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("name", scenes())
def test_every_size_is_filled_and_never_exceeded(name: str) -> None:
    for columns in (60, 80, 133):
        for rows in (15, 24, 50):
            lines = draw(*scenes()[name], columns, rows)
            assert len(lines) == rows
            assert max(cell_len(plain(line)) for line in lines) <= columns
            assert "quit" in plain(lines[-1]) or "back" in plain(lines[-1]) or "no" in plain(lines[-1])


@pytest.mark.parametrize(("columns", "rows"), [(59, 24), (80, 14), (20, 5), (1, 1)])
def test_a_terminal_that_is_too_small_says_so(columns: int, rows: int) -> None:
    lines = [plain(line) for line in draw(made.live(), ScreenState(), columns, rows)]
    assert len(lines) <= rows
    assert max(map(cell_len, lines)) <= columns
    assert columns < 20 or " ".join(lines) == f"{columns}x{rows} is too small: top needs 60x15; q quits"


def test_before_the_first_reading_there_is_a_frame() -> None:
    lines = draw(Live(), ScreenState(), 80, 24)
    assert len(lines) == 24
    assert "Reading" in made.shown(lines)


def text(state: ScreenState = ScreenState(), live: Live | None = None, **size: int) -> str:  # noqa: B008
    return made.shown(draw(live or made.live(), state, size.get("columns", 100), size.get("rows", 30)))


def test_a_full_queue_has_a_whole_bar_and_an_empty_one_none() -> None:
    lines = text().splitlines()
    [web] = [line for line in lines if line.startswith("> :8080")]
    assert "«" in web
    [idle] = [line for line in lines if line.startswith("  :443")]
    assert "«" not in idle
    [full] = [line for line in lines if line.startswith("  192.0.2.7:9000")]
    assert "17/17»" in full


def test_the_filter_keeps_rows_and_says_so() -> None:
    found = text(ScreenState(filter="nginx"))
    assert ":443" in found
    assert "4711" not in found
    assert "filter: nginx" in found
    assert "no listener has 'x y' in its row" in text(ScreenState(filter="x y"))


def test_sorted_by_port() -> None:
    lines = text(ScreenState(sort="port")).splitlines()
    ports = [line.split()[0 if line[0] == " " else 1] for line in lines if line[2:].startswith((":", "192"))]
    assert ports[:3] == [":443", ":8080", "192.0.2.7:9000"]


def test_an_inverted_order_says_so_and_the_column_is_marked() -> None:
    lines = draw(made.live(), ScreenState(sort="half-open", reverse=True), 100, 30)
    assert "by half-open, inverted" in plain(lines[0])
    rows = [plain(line)[2:].split()[0] for line in lines if plain(line)[2:].startswith((":", "192"))]
    assert rows[:3] == [":443", "192.0.2.7:9000", ":8080"]
    [titles] = [line for line in lines if plain(line).split()[:2] == ["LISTENER", "HALF-OPEN"]]
    assert [text for text, style in titles if "underline" in style] == ["HALF-OPEN"]


def test_what_could_not_be_read_is_said() -> None:
    model = made.flooded(completeness=Completeness("proc", notes=("owners: run as root",), problems=("by /proc",)))
    found = text(live=made.live(made.space(model, trouble="it is gone")), rows=40)
    for words in ("owners: run as root", "by /proc", "it is gone"):
        assert words in found


def test_nothing_a_terminal_obeys_comes_through() -> None:
    model = made.flooded(where=made.named("a\x1b[2Jb"))
    state: Any = ScreenState(notice="one\x1b]0;x\x07", filter="")
    assert "\x1b" not in text(state, made.live(made.space(model)))


def test_syns_that_were_not_counted_are_marked() -> None:
    uncounted = made.space(minute=made.minute(10))
    assert "~108/s" in text(live=made.live(uncounted))
    assert "~" not in text().replace("~~", "")


def test_without_utf_8_there_is_none() -> None:
    lines = draw(made.live(), ScreenState(), 100, 30, ascii_only=True)
    assert not any(c in made.shown(lines) for c in "▁▂▃▄▅▆▇█")


@pytest.mark.parametrize(("columns", "last"), [(60, "ACCEPT QUEUE"), (80, "OLDEST"), (140, "PROCESS")])
def test_a_long_address_gives_way_to_figures_and_keeps_its_end_and_its_port(columns: int, last: str) -> None:
    """At 80 columns a full address cost the accept queue and the oldest."""
    lines = text(live=with_address("2001:db8:85a3:8d3:1319:8a2e:370:7348"), columns=columns).splitlines()
    [titles] = [line for line in lines if "SYN QUEUE" in line]
    assert titles.endswith(last)
    [row] = [line for line in lines if line.startswith("> [2001")]
    assert row.split()[1].endswith(":7348]:8080")
    assert ("…" in row.split()[1]) == (columns < 140)


def of_listener(live: Live | None = None, columns: int = 60, rows: int = 40, **state: Any) -> str:
    page = ScreenState(page=Page.DETAILS, listener=made.KEY, **state)
    return text(page, live or made.live(details=details()), columns=columns, rows=rows)


def with_address(address: str) -> Live:
    views = made.flooded().listeners
    model = replace(made.flooded(), listeners=(replace(views[0], address=address), *views[1:]))
    return made.live(made.space(model))


def test_a_name_that_is_wider_than_the_screen_loses_its_middle_and_no_figure() -> None:
    lines = text(live=with_address("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"), columns=60).splitlines()
    [row] = [line for line in lines if line.startswith("> [2001")]
    assert row.split()[2] == "300"
    assert "?/320" in row.replace("«", "").replace("»", "")
    assert row.split()[1].endswith(":8080")
    assert "…" in row.split()[1]


def test_a_figure_in_the_last_column_is_never_cut() -> None:
    source = replace(made.space().sources[0].source, prefix="2001:db8:77:eb00::/64")
    [_, row] = table(LIVE_SOURCE, [LiveSource(source, 1234.0)], 60, 2)
    assert plain(row).endswith("1,234")


def test_a_narrow_page_of_a_listener_has_every_figure() -> None:
    found = of_listener()
    assert "?/3" in found
    assert "0/320" in found
    assert "release time 7 s while more than half full, else 63 s" in " ".join(found.split())
    assert "…" not in found


def test_handshakes_by_syn_cookie_are_said_to_be_untimed_and_no_word_is_cut() -> None:
    times = np.zeros(BUCKETS, np.int64)
    times[60] = 6
    again = np.zeros(RETRANSMITS, np.int64)
    again[:2] = 8, 5
    seen = Handshakes(2.0, again, Histogram(times, 0.2, 0.04), Histogram(times * 0, 0.0, 0.0), 13, 7, 0, 5, None, None)
    found = " ".join(of_listener(made.live(details=replace(details(), handshakes=seen))).split())
    assert "13 handshakes in 2 s, half of those timed within" in found
    assert "5 needed a retransmitted SYN-ACK; 7 by SYN cookie, not timed" in found


def test_a_page_that_goes_on_below_says_so() -> None:
    assert "more lines below" in of_listener(rows=15)
    assert "more lines below" not in of_listener(rows=60)
    live, state = made.live(details=details()), ScreenState(page=Page.DETAILS, listener=made.KEY)
    most = scrolled_most(live, state, 60, 15)
    assert 0 < most < 40
    assert "more lines below" not in of_listener(live, rows=15, top=most)
    assert of_listener(live, rows=15, top=most) == of_listener(live, rows=15, top=most + 9)


def test_where_the_first_line_is_short_the_interval_gives_way() -> None:
    wide = made.space(made.flooded(where=made.named("/proc/16906/fd/3")))
    first = text(live=made.live(wide), columns=60).splitlines()[0]
    assert "3 listeners, by" in first
    assert "every" not in first
    assert "every 1 s" in text(live=made.live(wide), columns=80).splitlines()[0]


def test_connections_beside_the_half_open_ones_are_named_in_the_language_of_the_reader() -> None:
    views = made.flooded().listeners
    model = replace(made.flooded(), listeners=(replace(views[0], deferred=7, defers=False), *views[1:]))
    with spoken("zh"):
        found = of_listener(made.live(replace(made.space(model), whole=None)))
    assert "+7 已应答" in found


def test_the_advice_to_stay_on_watch_is_not_given_by_a_screen_that_watches() -> None:
    model = made.flooded()
    wait = replace(judge(model), next=((Look("self", "watch", "the flood is over"),),))
    assert "halfopen watch" not in text(live=made.live(replace(made.space(model), verdict=wait)))


def test_trouble_that_is_longer_than_a_line_is_not_cut() -> None:
    words = (
        "service: the halfopen service is gone: it ended the connection (q and halfopen top --direct read the kernel)"
    )
    found = text(live=replace(made.live(), trouble=words), columns=80)
    assert words in " ".join(found.split())


def test_ages_that_were_read_a_while_ago_are_shown_as_bounds_with_a_line_that_says_so() -> None:
    """On a small screen that line was cut off, and ages of fifteen seconds ago looked like those of now."""
    now = made.flooded()
    space = made.space(now)
    later = replace(now.sample.bare(), monotonic_s=now.sample.monotonic_s + 13.0, parts=())
    problems = replace(later.completeness, problems=("one thing could not be read", "nor another one"))
    model = replace(now.bare(), sample=replace(later, completeness=problems))
    sources = tuple(replace(one, aged_s=13.0) for one in space.sources)
    screen = text(live=made.live(replace(space, model=model, sources=sources)), columns=80, rows=24)
    assert "ages and sources were read 13 s ago" in screen
    oldest = now.listeners[0].ages.max
    [row] = [line for line in screen.splitlines() if line.startswith("> :8080")]
    assert f"≤{oldest + 13.0:.1f} s" in row
    assert f" {oldest:.1f} s" in text(columns=80, rows=24)
    calm = replace(space, verdict=replace(space.verdict, findings=()), model=model)
    assert f"the oldest at most {oldest + 13.0:.0f} s" in " ".join(text(live=made.live(calm), columns=140).split())


def test_what_came_of_a_key_does_not_hide_that_readings_stay_away() -> None:
    """A line that a key left there stood for minutes where the service that reads was gone."""
    live = made.live(trouble="service: it is gone")
    for state in (
        ScreenState(notice="Sorted by drops", late_s=18.0),
        ScreenState(typing=True, late_s=18.0),
        ScreenState(late_s=18.0).with_question(Question("Release these?")),
    ):
        screen = text(replace(state, late_s=18.0), live, columns=80, rows=24)
        assert "service: it is gone" in screen
        assert "The last reading is 18 s old" in screen


def test_the_key_for_help_stays_where_keys_are_left_out() -> None:
    """At 80 columns it was the first to go where namespaces can be shown too."""
    for columns in (60, 70, 80):
        foot = text(ScreenState(several=True), columns=columns, rows=24).splitlines()[-1]
        assert foot.endswith(("? help q quit", "? help  q quit"))


def test_who_lives_in_a_namespace_is_no_part_of_the_sentence() -> None:
    """`... the queue is full, and a client would get in by SYN cookie in sleep`."""
    space = made.space(made.flooded(where=replace(made.named("pid:7"), lives_in="sleep")))
    head = text(live=made.live(space), columns=140, rows=40).split("\n  - ")[0].split("\nNext")[0]
    assert " ".join(head.split()).endswith("(sleep)")
