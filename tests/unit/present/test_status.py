"""The screen of `status`: it fits a low and narrow terminal, and says one thing about each matter."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from halfopen.core.fields.everywhere import JudgedNamespace
from halfopen.core.fields.field import json_object
from halfopen.core.fields.listener import LISTENER
from halfopen.core.findings.verdict import judge
from halfopen.core.model import timing
from halfopen.core.model.beside import Beside
from halfopen.core.model.model import Model, build
from halfopen.core.model.sources import SourceView
from halfopen.core.sample import ListenerOptions
from halfopen.present.releasetime import show as show_release_time
from halfopen.present.status import MAX_NAMESPACES, beside_line, everywhere, standing_out, status
from rows import listener, named, request, sample
from verdicts import silent

_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def terminal(width: int, height: int) -> Console:
    size: dict[str, Any] = {"width": width, "height": height, "force_terminal": True}
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, **size)


def written(out: Console) -> list[str]:
    text = _STYLES.sub("", out.file.getvalue())  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def shown(model: Model, before: Model | None = None, *, width: int = 80, height: int = 24) -> list[str]:
    out = terminal(width, height)
    status(out, model, judge(model, before))
    return written(out)


def flooded(listeners: int = 1, sources: int = 600, **values: Any) -> tuple[Model, Model]:
    """A flood on several listeners, in two looks."""
    requests = [one for port in range(listeners) for one in on_port(sources // listeners, 8080 + port)]
    rows = [
        listener(port=8080 + i, inode=i + 1, cookie=i + 1, limit=values.get("limit", 4096)) for i in range(listeners)
    ]
    where, counters = named("a-namespace-with-a-name"), {"PassiveOpens": 100, "ListenDrops": 7, "ListenOverflows": 0}
    settings = {"tcp_syncookies": values.get("cookies", 1)}
    options = {i + 1: ListenerOptions() for i in range(listeners)}
    same: dict[str, Any] = {"counters": counters, "where": where, "settings": settings, "options": options}
    now, before = sample(requests, rows, monotonic_s=100.5, **same), sample(requests, rows, **same)
    return build(now, before), build(before)


def on_port(n: int, port: int) -> list[Any]:
    found = silent(n)
    for i, row in enumerate(found):
        row["local_port"] = port
        row["remote_v4"] = (20 << 24) + port * 65536 + i * 256 + 7
    return found


@pytest.mark.parametrize("listeners", [1, 4, 30])
@pytest.mark.parametrize("cookies", [0, 1])
def test_a_flood_fits_a_screen_of_24_lines(listeners: int, cookies: int) -> None:
    lines = shown(*flooded(listeners, cookies=cookies))
    # One line is the prompt's.
    assert len(lines) <= 23, "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert lines[-1].lstrip().startswith(("Next", "--"))
    assert any("DROPS" in line for line in lines)
    assert any(line.startswith("not shown at 80 columns: ") for line in lines)


def test_a_high_screen_shows_more() -> None:
    assert len(shown(*flooded(30), height=60)) > len(shown(*flooded(30), height=24))


def test_sources_that_say_nothing_are_one_line() -> None:
    lines = shown(*flooded(), height=60)
    assert "600 distinct sources; no two share an IPv4 /24 or an IPv6 /64" in lines
    assert not any("SHARE" in line for line in lines)


def test_a_single_source_is_not_called_one_of_many() -> None:
    lines = shown(build(sample(on_port(1, 8080), [listener(limit=4096)])), height=60)
    assert "1 distinct source; all from 51.144.0.0/24" in lines


def test_sources_that_are_alike_are_one_line_too() -> None:
    requests = [row for one in range(3) for row in on_port(60, 8080)]
    for i, row in enumerate(requests):
        row["cookie"], row["remote_port"] = i + 1, 1024 + i
    lines = shown(build(sample(requests, [listener(limit=4096)])), height=60)
    assert [line for line in lines if line.startswith("60 distinct sources; no /24 stands out: at most 1.7% from ")]


def test_a_prefix_that_stands_out_has_its_line() -> None:
    one_host = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(90)]
    lines = shown(build(sample([*one_host, *on_port(10, 8080)], [listener(limit=4096)])), height=60)
    assert any(line.startswith("198.18.0.0/24") for line in lines)
    assert "11 distinct sources in all" in lines


def source(share: float, half_open: int = 40) -> SourceView:
    return SourceView(f"198.51.{int(share * 1000)}.0/24", half_open, share, 5.0)


def test_which_sources_stand_out() -> None:
    even = [source(0.019)] * 10
    assert standing_out(even) == []
    # Fifty of 2 % each, of which ten are listed.
    assert standing_out([source(0.02)] * 10) == []
    first = [source(0.3), source(0.04), *[source(0.02)] * 8]
    assert standing_out(first) == first[:2]
    few = [source(0.125)] * 8
    assert standing_out(few) == few
    assert standing_out([source(0.5, half_open=1)] * 2) == []
    # Two or three of one prefix among 65 are chance.
    assert standing_out([*[source(0.03, half_open=2)] * 4, *[source(0.015, half_open=1)] * 6]) == []


def test_one_release_time_stands_on_the_screen() -> None:
    """A queue more than half full: the kernel gives up after 7 s, not 63 s."""
    known = {1: ListenerOptions()}
    old = build(sample(silent(80), [listener(limit=100)], options=known))
    lines = shown(old, width=200, height=60)
    [line] = [line for line in lines if line.startswith("Release time")]
    assert line.startswith("Release time  7 s on :8080 while its queue is more than half full, else 63 s (tcp_syn")
    assert any(re.search(r"\b7 s\b", row) and row.startswith(":8080") for row in lines)
    assert not any(re.search(r"\b63 s\b", row) for row in lines if row.startswith(":8080"))
    # With a release time of its own the sysctl has no say.
    calm = build(sample(silent(3), [listener(limit=100)], options=known))
    [line] = [line for line in shown(calm, width=200, height=60) if line.startswith("Release time")]
    assert line.startswith("Release time  63 s: tcp_synack_retries = 5; SYN cookies when a queue is full")


def test_a_release_time_that_could_not_be_read_is_not_shown() -> None:
    """Without eBPF and privileges nothing tells whether TCP_SYNCNT is set."""
    unknown, known = listener(port=8080, inode=1), listener(port=443, inode=2)
    model = build(sample([], [unknown, known], options={2: ListenerOptions(retries=2)}))
    lines = shown(model, width=200, height=60)
    rows = {line.split()[0]: line for line in lines if line.startswith(":")}
    assert " 7 s*" in rows[":443"]
    assert " s" not in rows[":8080"]
    assert "? could not be read: a listener may have a release time of its own (TCP_SYNCNT)" in lines
    views = {view.port: view for view in model.listeners}
    assert [json_object(LISTENER, views[port])["synack_retries_known"] for port in (8080, 443)] == [False, True]
    out = Console(file=io.StringIO(), width=200, highlight=False, markup=False, emoji=False)
    show_release_time(out, model, range(3), timing.RTO_MAX_S, {})
    assert "not known on :8080: its own TCP_SYNCNT could not be read" in written(out)[2]


def judged(name: str, requests: list[Any], *rows: Any) -> JudgedNamespace:
    model = build(sample(requests, list(rows), where=named(name)))
    return JudgedNamespace(model, judge(model))


def test_several_namespaces_are_a_table_with_the_worst_last_and_whole() -> None:
    found = [
        judged("bad", [], listener(limit=8, accept_queue=9)),
        judged("quiet", []),
        judged("busy", silent(90), listener(limit=4096)),
    ]
    out = terminal(120, 30)
    everywhere(out, found, ["gone: it vanished"])
    lines = written(out)
    assert lines[0] == "CRITICAL  90 half-open connections in 3 network namespaces"
    assert "  - gone: it vanished" in lines
    rows = [line.split()[0] for line in lines if line.split()[:1] in (["bad"], ["busy"], ["quiet"])]
    assert rows == ["busy", "bad"]
    [bad] = [line for line in lines if line.startswith("bad")]
    assert "9/9 :8080" in bad
    assert bad.endswith("CRITICAL  app-not-accepting")
    assert "1 of them has no half-open connections" in lines
    # Below the table, the worst alone as a screen.
    assert [line for line in lines if line.startswith("CRITICAL  [bad] the accept queue of :8080 is full")]
    assert not [line for line in lines if "[busy]" in line]
    assert len(lines) < 30


def test_many_namespaces_are_cut_to_the_worst() -> None:
    out = terminal(120, 60)
    everywhere(out, [judged(f"n{i}", silent(60 + i), listener(limit=4096)) for i in range(MAX_NAMESPACES + 3)], [])
    lines = written(out)
    assert "3 less severe ones are not shown" in lines
    assert sum(line.startswith("n") and "cannot-tell" in line for line in lines) == MAX_NAMESPACES


def test_quiet_namespaces_are_one_line() -> None:
    out = terminal(80, 24)
    everywhere(out, [judged("one", []), judged("two", [])], [])
    assert written(out) == [
        "OK        0 half-open connections in 2 network namespaces",
        "2 of them have no half-open connections",
    ]


@pytest.mark.parametrize(
    ("beside", "line"),
    [
        (Beside(3), ""),
        (Beside(3, 1, 0, 0, "pid:7: web"), "of 3 other network namespaces, 1 has a full accept queue (pid:7: web)"),
        (
            Beside(3, 2, 1, 1, "db"),
            "of 2 other network namespaces, 2 have a full accept queue and 1 has a full SYN queue",
        ),
    ],
)
def test_other_namespaces_with_full_queues(beside: Beside, line: str) -> None:
    told = beside_line(beside)
    assert line in told
    assert told.endswith(": halfopen status --netns all") == bool(line)


def test_a_pruned_queue_does_not_claim_the_configured_release_time() -> None:
    now, before = flooded(limit=900)
    text = " ".join(" ".join(shown(now, before, height=60)).split())
    assert "stays 63 s while the queue is at most half full (tcp_synack_retries = 5), and 7 s now" in text
    assert "Release time 7 s on :8080 while its queue is more than half full, else 63 s" in text


def test_the_verdict_and_the_lines_with_a_title_go_on_under_their_text() -> None:
    now, before = flooded(sources=600)
    lines = shown(now, before, width=60, height=60)
    assert lines[0].startswith("NOTICE    [a-namespace-with-a-name] 600 half-open")
    assert lines[1].startswith(" " * 10)
    at = next(i for i, line in enumerate(lines) if line.startswith("Release time  "))
    assert lines[at + 1].startswith(" " * 14)
    assert all(len(line) <= 60 for line in lines if not line.startswith((" ", "Next", "Also")))


def test_colour_is_of_the_level_and_of_the_dash_alone() -> None:
    """Else the first line of a reason is coloured, and the next one is not."""
    now, before = flooded(sources=600)
    out = Console(file=io.StringIO(), width=60, height=60, force_terminal=True, color_system="standard")
    status(out, now, judge(now, before))
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert re.fullmatch(r"\x1b\[[0-9;]*mNOTICE *(\[a-namespace-with-a-name\] )?\x1b\[0m.*", lines[0])
    assert "\x1b[1m600 half-open" in lines[0]
    dashes = [line for line in lines if "-" in line[:14] and "  - " in _STYLES.sub("", line)]
    assert dashes
    assert all(re.match(r"\x1b\[[0-9;]*m  -\x1b\[0m [^\x1b]+$", line) for line in dashes)
