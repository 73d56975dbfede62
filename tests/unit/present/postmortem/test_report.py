"""`halfopen report`: of a history that the sink of `watch` kept, as Markdown and as a page."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import kept_flood
from halfopen import __version__
from halfopen.cli.history import command as history_command
from halfopen.cli.report import command
from halfopen.core.errors import HalfopenError
from halfopen.core.policy.counts import CONNECTIONS
from halfopen.core.policy.incidents import Peak
from halfopen.core.postmortem import harm_of
from halfopen.ops import postmortem
from halfopen.present.postmortem.document import document
from halfopen.present.postmortem.markdown import markdown
from halfopen.present.web.kept import _facts, _outcome, _row
from halfopen.store.database import HistoryPlace

HERE = Path(__file__).parent
NOW_S = kept_flood.BEGAN_S + 600
PROCESS = "we<b>`|_*"


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of the golden file."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A history with one flood: where it is, and the id of the incident."""
    directory = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        return directory, kept_flood.keep(directory, patch)


class Page(HTMLParser):
    """Reads a page as strictly as a page of ours has to be, and keeps what is in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def run(*words: str) -> str:
    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: str) -> HalfopenError:
    with pytest.raises(HalfopenError) as raised:
        CliRunner().invoke(command, list(words), catch_exceptions=False)
    return raised.value


def parsed(text: str) -> Page:
    found = Page()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def tiles(text: str) -> dict[str, str]:
    """The figures at the top of a Markdown report, by what they are."""
    return {name: value for value, name in re.findall(r"^- \*\*(.+?)\*\* (.+)$", text, re.MULTILINE)}


# What the rules say of the same readings is tested with the rules: here it stands as "…".
OF_RULES = (r"(?<=At \d\d:\d\d:\d\d: ).+(?=\.$)", r"(?<=^- Evidence: ).+$", r"(?<=^Ruled out as well: ).+$",
            r"(?<=^Not decided: ).+$")  # fmt: skip


def test_the_markdown_is_what_it_was(kept: tuple[Path, str]) -> None:
    """HALFOPEN_WRITE_SCREENS=1 writes the file anew: look at it before it is committed."""
    made = markdown(document(postmortem.of_incident(HistoryPlace.of(f"{kept[0]}/"), kept[1], NOW_S), "en"))
    for words in OF_RULES:
        made = re.sub(words, "…", made, flags=re.MULTILINE)
    made = made.replace(f"halfopen {__version__}", "halfopen VERSION")
    golden = HERE / "incident.md"
    if os.environ.get("HALFOPEN_WRITE_SCREENS"):
        golden.write_text(made, "utf-8")
    assert made == golden.read_text("utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_whole_and_needs_nothing_from_elsewhere(kept: tuple[Path, str], language: str) -> None:
    for words in (("--incident", kept[1]), ("--since", "2026-11-26T02:00", "--until", "2026-11-26T03:00")):
        text = run(*words, "--file", f"{kept[0]}/", "--format", "html", "--language", language)
        found = parsed(text)
        tags = {tag for tag, _ in found.tags}
        assert not tags & {"script", "link", "img", "iframe", "object", "a", "base", "form"}
        for _, attributes in found.tags:
            assert not attributes.keys() & {"src", "href", "xlink:href", "srcset", "style"}
            assert not [name for name in attributes if name.startswith("on")]
        assert not re.search(r"https?:|//\w|url\(|@import|javascript:", text.partition("</style>")[2])
        assert not re.search(r"https?:|url\(|@import", text)
        # Anybody may choose the name of a process.
        assert "<b>`" not in text
        assert any(PROCESS in piece for piece in found.text)
        assert "prefers-color-scheme: dark" in text
        assert "size: A4" in text
        assert found.tags[0] == ("html", {"lang": "en" if language == "en" else "zh-CN"})
        assert sum(tag == "svg" for tag, _ in found.tags) >= 4
        # For readers who go from heading to heading, and by keys through a table that is wider than the screen.
        levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
        assert all(at.get("tabindex") == "0" for _, at in found.tags if at.get("class") == "wide")


def test_the_figures_are_those_of_history(kept: tuple[Path, str]) -> None:
    directory, id = kept
    text = run("--incident", id, "--file", f"{directory}/")
    # The command that the report itself gives.
    assert f"halfopen top --replay {id} --file {directory}/\n" in text
    [asked] = re.findall(r"^halfopen history (--since .+ --json)$", text, re.MULTILINE)
    assert f"--file {directory}/ " in asked
    done = CliRunner().invoke(history_command, asked.split(), catch_exceptions=False)
    told: dict[str, Any] = json.loads(done.output)
    [incident] = told["incidents"]
    sums = {
        one["magnitude"]: sum(slot["sum"] for slot in one["slots"]) for one in told["series"] if one["port"] is None
    }
    figures = tiles(text)
    assert figures["half-open at most"] == f"{incident['peak_half_open']:,}"
    assert figures["clients served (handshakes finished)"] == f"{sums['finished']:,}"
    assert figures["turned away (SYNs and handshakes dropped)"] == f"{incident['turned_away']:,}"
    assert figures["released"] == f"{incident['released']:,}"
    assert figures["completed connections harmed"] == "0"
    assert f"{sums['cookies']:,} SYNs" in text
    assert sums["drops"] == incident["turned_away"] > 0
    assert incident["released"] == sum(one["outcome"]["released"] for one in told["releases"]) > 0
    # The page has the same.
    words = parsed(run("--incident", id, "--file", f"{directory}/", "--format", "html")).text
    for name, value in figures.items():
        assert words[words.index(name) - 2] == value
    # And so has the report of the hour, of its own time.
    hour = ("--since", "2026-11-26T02:00", "--until", "2026-11-26T03:00")
    done = CliRunner().invoke(history_command, ["--file", f"{directory}/", *hour, "--json"], catch_exceptions=False)
    series = json.loads(done.output)["series"]
    finished = sum(slot["sum"] for one in series if one["magnitude"] == "finished" for slot in one["slots"])
    whole = run(*hour, "--file", f"{directory}/").partition("\n## ")[0]
    assert tiles(whole)["clients served (handshakes finished)"] == f"{finished:,}"


def test_what_was_ruled_out_and_the_owner_come_from_the_flight_record(kept: tuple[Path, str], tmp_path: Path) -> None:
    directory, id = kept
    text = run("--incident", id, "--file", f"{directory}/")
    assert "- How sure: certain" in text
    assert re.search(r"^\| synacks-lost \| .*none has retransmitted its SYN \|$", text, re.MULTILINE)
    assert "halfopen tune apply --release-time 7s" in text
    assert "4711 (web.service)" in text
    without = tmp_path / "history.db"
    without.write_bytes((directory / "history.db").read_bytes())
    text = run("--incident", id, "--file", str(without))
    assert "- Program: not recorded" in text
    assert "What was ruled out is not known" in text
    assert "The readings around it, and so how sure the cause is: it has no flight record." in text
    # The evidence is in the history as well.
    assert "- Evidence: 60 half-open for more than 3 s" in text
    assert "--replay" not in text
    assert "In general: leave SYN cookies on" in text


def test_time_that_was_not_watched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = kept_flood.keep(tmp_path / "h", monkeypatch, seconds=60, unwatched=range(30, 38))
    text = run("--incident", id, "--file", f"{tmp_path}/h/")
    assert re.search(r"^\| 02:55:(29|30) \| Nothing was watched until 02:55:3[78] \|$", text, re.MULTILINE)
    assert "Before 02:55:00: nothing was watched." in text
    assert re.search(
        r"From 02:55:(29|30) to 02:55:3[78]: nothing was watched, and the sums do not include that time\.", text
    )
    found = parsed(run("--incident", id, "--file", f"{tmp_path}/h/", "--format", "html"))
    gaps = [attributes for tag, attributes in found.tags if tag == "rect" and attributes["class"] == "gap"]
    assert len(gaps) % 3 == 0  # before, in between, behind; in each plot
    assert gaps


def test_an_incident_that_was_not_seen_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = kept_flood.keep(tmp_path / "h", monkeypatch, seconds=30)
    text = run("--incident", id, "--file", f"{tmp_path}/h/")
    assert "the end was not seen" in text
    assert "- The end: the watch ended first." in text


def test_a_time_without_anything(kept: tuple[Path, str]) -> None:
    text = run("--since", "2020-01-01", "--until", "2020-01-02", "--file", f"{kept[0]}/")
    assert "2020-01-01 00:00:00 to 2020-01-02 00:00:00: nothing was watched." in text
    assert "- Not watched: 24 h of 24 h" in text


def test_clients_of_a_time_that_was_not_watched_are_not_counted_as_none(kept: tuple[Path, str]) -> None:
    found = postmortem.of_incident(HistoryPlace.of(f"{kept[0]}/"), kept[1], NOW_S)
    [told] = found.told
    unwatched = replace(told, during=replace(told.during, series=(), spans=()))
    text = markdown(document(replace(found, told=(unwatched,)), "en"))
    assert "- Served: not known: nothing was watched" in text
    assert "0 handshakes finished" not in text
    assert "- **?** clients served (handshakes finished)" in text


def test_a_file_is_for_its_owner_and_replaced_by_force_alone(kept: tuple[Path, str], tmp_path: Path) -> None:
    words = ("--incident", kept[1], "--file", f"{kept[0]}/", "-o")
    target = tmp_path / "a.html"
    assert run(*words, str(target)) == f"{target} written\n"
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert "already exists; give another name, or --force" in refused(*words, str(target)).line()
    target.write_text("old")
    run(*words, str(target), "--force")
    assert target.read_text().endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    link = tmp_path / "link.md"
    link.symlink_to(tmp_path / "none")
    assert "already exists" in refused(*words, str(link)).line()
    assert "is no regular file" in refused(*words, str(link), "--force").line()
    assert not (tmp_path / "none").exists()
    assert "No such file or directory" in refused(*words, f"{tmp_path}/none/a.md").line()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "a.txt"), "the format cannot be told"),
        (("--incident", "ffffff"), "there is no incident 'ffffff'"),
        (("--incident", "ffffff", "--since", "1h"), "--incident does not go with --since"),
        (("--since", "1h", "--until", "2h"), "--since is not before --until"),
    ],
)
def test_what_is_refused(kept: tuple[Path, str], words: tuple[str, ...], said: str) -> None:
    assert said in refused(*words, "--file", f"{kept[0]}/").line()


def test_harm_is_counted_where_the_door_was_not_held(kept: tuple[Path, str]) -> None:
    found = postmortem.of_incident(HistoryPlace.of(f"{kept[0]}/"), kept[1], NOW_S)
    one, two = found.told[0].releases
    assert (one.outcome["held"], harm_of((one, two), 2).most) == (True, 0)
    open_door = type(one)(one.where, one.at_s, "", "", {**one.outcome, "held": False, "resets": 3})
    assert harm_of((open_door, two), 2).most == 3
    unknown = type(one)(one.where, one.at_s, "", "", {**one.outcome, "held": False, "resets": None})
    assert harm_of((unknown, two), 2).most is None
    assert harm_of((two,), 2).most is None
    # The page of the service says the same.
    incident = found.told[0].incident
    assert _facts(incident, (one, two))["Harmed"].startswith("0: with the door held")
    assert _facts(incident, (open_door, two))["Harmed"].startswith("at most 3: RSTs")
    assert _facts(incident, ())["Harmed"].startswith("not known")
    assert not any("ever touched" in line for line in _outcome(incident, NOW_S))


def test_nothing_in_markdown_is_what_it_was_not_meant_to_be(kept: tuple[Path, str]) -> None:
    found = postmortem.of_incident(HistoryPlace.of(f"{kept[0]}/"), kept[1], NOW_S)
    text = markdown(document(found, "en"))
    assert "we\\<b\\>\\`\\|\\_\\* 4711" in text


def test_an_incident_of_connections_is_at_no_listener_and_counts_them(kept: tuple[Path, str]) -> None:
    """A report had `connections:0` where its listener should be, and a peak of 0."""
    found = postmortem.of_incident(HistoryPlace.of(f"{kept[0]}/"), kept[1], NOW_S)
    [told] = found.told
    leak = replace(told.incident, listener=CONNECTIONS, peak=Peak(connections=118), causes=())
    text = markdown(document(replace(found, told=(replace(told, incident=leak),), incidents=(leak,)), "en"))
    assert "connections:0" not in text
    assert "- **118** connections concerned at most" in text
    assert _facts(leak, ())["Peak"] == "118 connections"
    assert _row(leak, NOW_S)["peak"] == "118"
