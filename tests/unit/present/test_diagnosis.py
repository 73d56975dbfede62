"""What `diagnose` shows, at any width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.diagnosis import Diagnosis, diagnosis
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact
from halfopen.core.model.closing_glance import ClosingGlance
from halfopen.core.model.model import build
from halfopen.core.sample import Process
from halfopen.present.diagnosis import _grid, document, headline, show
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.sentences import say
from halfopen.present.language import cell_width, spoken
from rows import listener, named, sample
from verdicts import nothing_lost

PROCESS = {1: (Process(4711, "server", "web.service"),)}


def found(netns: str = "self", **values: Any) -> Diagnosis:
    names = "PassiveOpens", "ListenOverflows", "ListenDrops", "IPReversePathFilter", "EmbryonicRsts"
    counters = dict.fromkeys(names, 0)
    rows = [listener(limit=8, cookie=5, accept_queue=values.pop("accept_queue", 9))]
    read = sample([], rows, where=named(netns), owners=PROCESS, counters=counters, monotonic_s=105.0)
    before = sample([], rows, where=named(netns), counters=counters, monotonic_s=100.0)
    return diagnosis(Evidence(build(read.with_part(nothing_lost(5.0)), before), build(before), 5.0))


def shown(all: list[Diagnosis], width: int = 80, skipped: tuple[str, ...] = (), *, verbose: bool = False) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    show(out, all, skipped, verbose=verbose)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_finding_has_its_process_its_evidence_and_its_time(width: int) -> None:
    text = shown([found()], width)
    assert text.startswith("CRITICAL  The program does not accept, on :8080\nTwo looks 5.0 s apart")
    assert "app-not-accepting  critical, certain" in text
    assert ":8080   server 4711 (web.service)" in text
    assert "accept queue 9 of 9" in text
    assert "in 5 s  none accepted" in text
    assert text.splitlines()[-1] == "Next  ps -Lp 4711 -o tid,stat,wchan:32,comm"
    assert max(map(len, text.splitlines())) <= width


def test_nothing_wrong_is_told_with_what_was_ruled_out() -> None:
    text = shown([found(accept_queue=0)])
    assert text.startswith("OK        Nothing wrong was found")
    assert "Ruled out  spoofed-flood, " in text
    assert "(-v: why)" in text
    assert "Not decided" not in text
    assert "accept queue 0 of 9" in shown([found(accept_queue=0)], verbose=True)


def test_the_worst_namespace_is_the_last() -> None:
    text = shown([found("bad"), found("good", accept_queue=0)], skipped=("gone: it vanished",))
    assert text.index("[good]") < text.index("[bad]")
    assert text.startswith("Skipped  gone")


def test_the_document_has_the_same() -> None:
    written = document([found("bad"), found("good", accept_queue=0)], ["x"], interrupted=True)
    assert (written["schema"], written["level"], written["interrupted"]) == ("halfopen.diagnose/1", "critical", True)
    bad, good = written["namespaces"]
    assert (bad["headline"], good["headline"]) == (headline(found("bad")), "Nothing wrong was found")
    [finding] = [one for one in bad["findings"] if one["id"] == "app-not-accepting"]
    assert finding["confidence"] == "certain"
    assert finding["listener"]["processes"][0]["pid"] == 4711
    assert finding["cures"][0] == "ps -Lp 4711 -o tid,stat,wchan:32,comm"
    assert {"name": "accepted_at_most", "value": 0, "limit": None, "unit": "", "base": "between"} in finding["facts"]


def test_a_fact_without_words_of_its_own_shows_its_name() -> None:
    facts = (Fact("open_pipes", 1024, 1024.0), Fact("throttled_s", 2.5, unit="s"), Fact("state", "T"))
    assert phrases(facts) == "open pipes 1,024 of 1,024, throttled 2.5 s, state T"
    assert phrases((Fact("SomeDrop", 3), Fact("tcp_new", 1))) == "SomeDrop 3, tcp_new 1"


def test_a_process_is_one_phrase() -> None:
    stuck = (Fact("why", "stopped"), Fact("process", "web"), Fact("pid", 4711), Fact("inside", "web.service"))
    both = (*stuck, Fact("processes", 4), Fact("stuck_processes", 2), Fact("descriptors", 52, 52))
    assert phrases(both) == "web 4711 (web.service), 2 of 4 processes in the same state, open files 52 of 52"
    assert phrases((*stuck, Fact("processes", 1), Fact("stuck_processes", 1))) == "web 4711 (web.service)"


def test_facts_that_belong_together_are_told_together() -> None:
    lasting = (Fact("lasting", 1200), Fact("lasting_since_s", 3.0, unit="s"), Fact("repeated", 0))
    assert phrases(lasting) == "1,200 half-open for more than 3 s, none has retransmitted its SYN"
    assert phrases((Fact("prefix", "198.51.100.0/24"), Fact("share", 0.5))) == "50% from 198.51.100.0/24"
    assert phrases((Fact("unanswered_share", 0.9996, 0.5),)).startswith("at least 99% of arrivals")


def test_the_name_of_a_setting_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    title = RULES["somaxconn-clamp"].title
    assert title == "`somaxconn` caps the queue"
    monkeypatch.setitem(RULES, "app-not-accepting", replace(RULES["app-not-accepting"], title=title))
    assert shown([found()]).startswith("CRITICAL  somaxconn caps the queue, on :8080\n")


def test_no_chinese_sentence_is_cut_off() -> None:
    text = "秒内新增 49 条没有减少最老的 22 秒未读数据 178 B 该进程已用描述符 188/20,000"
    for width in range(24, 120):
        out = Console(file=io.StringIO(), width=width, highlight=False)
        _grid(out, [("-", text)])
        assert isinstance(out.file, io.StringIO)
        assert "".join(out.file.getvalue().split()) == "-" + "".join(text.split())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_narrow_screen_is_filled_and_lines_go_on_under_their_begin(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chinese has no spaces between words, where rich breaks lines."""
    out = Console(file=io.StringIO(), width=52, highlight=False)
    monkeypatch.setattr("halfopen.present.language._preferred", language)
    show(out, [found()], ())
    with spoken():
        sentence = say(found().causes[0].finding)
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert max(map(cell_width, lines)) <= 52
    at = next(i for i, line in enumerate(lines) if line.startswith("   "))
    told = []
    while not "".join(told).endswith("".join(sentence.split())):
        assert lines[at].startswith("   ")
        told.append("".join(lines[at].split()))
        at += 1
    assert all(cell_width(line) > 40 for line in lines[at - len(told) : at - 1])


def test_connections_that_leak_are_told_beside_nothing_wrong() -> None:
    """`top` said that a process leaks 2,900 connections, and its key `d` that nothing wrong was found."""
    model = build(sample([], [listener()]))
    found, leaks = diagnosis(Evidence(model, model, 5.0)), ClosingSeen(ClosingGlance(2900, 0, 28232))
    out = Console(file=io.StringIO(), width=80)
    show(out, [found], [], closing=[leaks])
    [line] = [line for line in out.file.getvalue().splitlines() if line.startswith("Closing")]  # type: ignore[attr-defined]
    assert "2,900 connections are in CLOSE_WAIT" in line
