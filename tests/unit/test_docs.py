"""The documents and the code say the same: every JSON name, command, option and link; both READMEs alike."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import build_docs
from documented import types, wrong
from halfopen.cli.main import COMMANDS, cli
from halfopen.core.config import WatchSettings, parse
from halfopen.core.errors import UnknownTarget
from halfopen.core.fields.connection import LIST
from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.metrics import LISTENER_METRICS, NAMESPACE_METRICS, WATCH_METRICS
from halfopen.core.fields.released import released as released_object
from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.verdict import judge
from halfopen.core.model.closing_glance import ClosingGlance
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import (
    ChangeListener,
    FoundValue,
    GuardWithheld,
    Protect,
    Protected,
    Release,
    Released,
    Undo,
    Withheld,
    Withholding,
)
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising
from halfopen.core.policy.counts import CONNECTIONS
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.release_policy import ReleasePolicy
from halfopen.core.policy.silence import Silence
from halfopen.core.reports import Reloaded
from halfopen.core.sample import LISTENER, REQUEST, ListenerOptions, Process, Requests, Sample
from halfopen.core.sample.guard import GuardCounts
from halfopen.core.sparing import Sparing
from halfopen.core.tune.keys import SAMPLED
from halfopen.core.tune.ledger import Ledger
from halfopen.core.tune.outcomes import Applied, Tuned, Undid, Undone
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.records import Began
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.where import Host, Namespace
from halfopen.linux.netns import current
from halfopen.ops.watch import sinks
from rows import part

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = (
    *(*READMES, "ARCHITECTURE.md", "CHANGELOG.md"),
    *(
        "docs/commands.md",
        "docs/verdicts.md",
        "docs/safety.md",
        "docs/json.md",
        "docs/how-it-reads.md",
        "docs/settings.md",
        "docs/metrics.md",
        "docs/configuration.md",
        "docs/decisions.md",
    ),
)
# Objects whose keys are the kernel's names: named in the text, not in a table.
MAPS = {"settings", "counters", "rates_per_s", "passed"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- documents of every kind, from a made-up Sample -------------------------------------------------------------------


def sample() -> Sample:
    requests = np.zeros(60, dtype=REQUEST)
    requests["family"] = 2
    requests["state"] = 3
    requests["local_port"] = 443
    requests["remote_port"] = np.arange(60) + 1024
    requests["remote_v4"] = 0xC6336401
    requests["retransmits"] = 3
    requests["expires_ms"] = 4000
    requests["cookie"] = np.arange(60) + 1
    listeners = np.zeros(1, dtype=LISTENER)
    listeners["family"], listeners["port"], listeners["inode"], listeners["accept_queue_limit"] = 2, 443, 7, 128
    return Sample(
        where=Namespace("boot", 1),
        host=Host("host", "6.1"),
        parts=(Requests(requests, len(requests)),),
        listeners=listeners,
        monotonic_s=100.0,
        wall_s=1_700_000_000.0,
        owners={7: (Process(1, "web", "web.service", "0123456789ab"),)},
        options={7: ListenerOptions(2, 0)},
        counters=dict.fromkeys(COUNTERS, 1),
        settings={**{key.rpartition(".")[2]: 5 for key in SAMPLED}, "tcp_rto_max_ms": 120_000},
    )


def model() -> Model:
    now = sample()
    return build(now, Sample(**{**_fields(now), "monotonic_s": 99.0}))


def _fields(s: Sample) -> dict[str, Any]:
    return {name: getattr(s, name) for name in Sample.__dataclass_fields__}


OUTCOME = Released(Release(Namespace("boot", 1), Filter(older_than_s=3.0), "test"), matched=1, released=1)


POLICY = ReleasePolicy("flood", Filter(older_than_s=3.0))
WITHHELD = Withheld(Release(Namespace("boot", 1), Filter(), "", policy="flood"), None, Withholding.OBSERVES, 7)
GUARD = Protect(Namespace("boot", 1), ((None, 443),), "test", policy="protect")


def status() -> list[Any]:
    from halfopen.present import statusjson

    m = model()
    seen = ClosingSeen(ClosingGlance(60, 60, 28232), None, judge(m))
    return [statusjson.status([m], [judge(m)], [], [seen])]


def connections() -> list[Any]:
    from halfopen.present import rows

    # The head is made in cli/list.py; its names are read from there by running it on nothing but this Sample.
    m = model()
    parts = [part(m, 3)]
    document = json.loads("\n".join(rows.json_lines(list_head(m), parts)))
    head, *lines = "\n".join(rows.csv_lines(parts)).splitlines()
    assert head.split(",") == [f.name for f in LIST]
    assert len(lines) == 3
    assert [json.loads(line) for line in rows.ndjson_lines(parts)] == document["connections"]
    return [document]


def list_head(m: Model) -> dict[str, Any]:
    """What `halfopen list --json` puts before the rows, from the command itself."""
    from click.testing import CliRunner

    from halfopen import api
    from halfopen.cli import list as command
    from halfopen.core.model.listing import Listed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "listed", lambda *_, **__: ([Listed("self", m.sample.wall_s, (), part(m).collected)], []))
        done = CliRunner().invoke(command.command, ["--json", "--limit", "1"])
    document: dict[str, Any] = json.loads(done.output)
    document.pop("connections")
    return document


def release() -> list[Any]:
    from halfopen.present import jsonout

    return [jsonout.release([OUTCOME])]


def watch() -> list[Any]:
    from halfopen.present.watchjson import JsonLines

    writer, m, at = JsonLines(), model(), (2, "0.0.0.0", 8080, 0)
    lines = [
        *writer.begin(1.0, Policy()),
        *writer.reading(m),
        *writer.rising(m, Rising(m.sample.where, at, 60)),
        *writer.taken_up(m, Incident("x", m.sample.where, at, 1e9)),
        *writer.passed(m, Passed(m.sample.where, at, 0, 3.0)),
        *writer.alarm(m, Alarm(m.sample.where, at, 60, 58, 700, 1.0, 50.0, "unanswered", "spoofed-flood"), judge(m)),
        *writer.cause(m, CauseChanged(m.sample.where, at, 60, "spoofed-flood", "cannot-tell"), judge(m)),
        *writer.clear(m, Clear(m.sample.where, at, 0, 3.0, 60, "spoofed-flood")),
        *writer.clear(m, Clear(m.sample.where, CONNECTIONS, 0, 3.0, 60, "close-wait-leak")),
        *writer.released(OUTCOME),
        *writer.withheld(m, WITHHELD),
        *writer.guarded(Protected(GUARD, (":443",), GuardCounts(), "stopped")),
        *writer.guard_withheld(GuardWithheld(GUARD, Withholding.OBSERVES)),
        *writer.reloaded(Reloaded(1.0, Policy(releases=(POLICY,)), WatchSettings(), ("netns",))),
        *writer.trouble("self", UnknownTarget("gone")),
        *writer.end(1),
    ]
    return [json.loads(line) for line in lines]


def kept() -> list[Any]:
    """The two documents of history."""
    from halfopen.core.findings.finding import Fact
    from halfopen.core.history import HistoryAnswer, KeptSeries, ReleaseSeen, SettingChanged, Slot, WatchedSpan
    from halfopen.core.policy.incidents import CauseFound, ReleasesMade
    from halfopen.present import history

    here, at = Namespace("boot", 1), (2, "0.0.0.0", 8080, 0)
    causes = (CauseFound(1e9, "spoofed-flood", "critical", (Fact("half_open", 3, 5.0), Fact("prefix", "10.0.0.0/8"))),)
    made = ReleasesMade("all", "why", 1, 1e9, 1e9)
    one = Incident("x", here, at, 1e9, causes=causes, releases=(made,), silences=(Silence("x", 1e9, "us"),))
    seen = ReleaseSeen(here, 1e9, "all", "why", released_object(OUTCOME), ("x",))
    slot = Slot(10**9, 1, 0, 1, 1, 1, 1)
    answer = HistoryAnswer(
        1e9,
        1e9 + 60,
        1e9 + 60,
        1,
        (one,),
        (),
        (KeptSeries(here, at, "half_open", (slot,)), KeptSeries(here, None, "drops", (slot,))),
        (WatchedSpan(here, 1e9, 1e9 + 60),),
        (SettingChanged(here, 1e9, "tcp_synack_retries", 5, None),),
        (seen,),
    )
    return [history.document(answer), history.incident_document(one, [seen])]


def release_time() -> list[Any]:
    from halfopen.present import releasetime

    return [releasetime.document(model(), [0, 1], 120.0, {1: 3.04})]


def handshakes() -> list[Any]:
    from halfopen.core.model.handshakes import Observed, by_listener
    from halfopen.core.sample.handshakes import HandshakeCounters
    from halfopen.present.handshakes import document
    from halfopen.wire.bpf_records import HANDSHAKE_COUNTERS, HANDSHAKE_KEY

    keys, counters = np.zeros(1, dtype=HANDSHAKE_KEY), np.zeros(1, dtype=HANDSHAKE_COUNTERS)
    keys["netns"], keys["port"], keys["family"], keys["ipv4"] = 1, 8080, 2, 1
    counters["times"][0, 20] = counters["by_retransmits"][0, 0] = 3
    listener = np.zeros(1, dtype=LISTENER)
    listener["port"], listener["family"], listener["inode"] = 8080, 2, 7
    one = by_listener(
        HandshakeCounters(1.0, 1.0, keys, counters), Namespace("boot", 1), listener, {7: (Process(1, "web"),)}
    )
    return [document(Observed(1e9, Host("host", "6.0"), 1.0, False, (), 0, (one,), ()))]


def advise() -> list[Any]:
    from halfopen.core.advice.advice import AdviceGiven, ListenerWatched
    from halfopen.core.advice.advice import advise as advise_on
    from halfopen.core.advice.depths import Depth
    from halfopen.present.advice import document
    from shaken import handshakes

    [view] = model().views
    one = advise_on(ListenerWatched(view, handshakes((120, 0, 0.05)), [Depth(0.0, 1, 1, 0)]), "self", {})
    return [document(AdviceGiven(Namespace("boot", 1), Host("host", "6.1"), 1e9, 60.0, (one,), {}))]


def diagnose() -> list[Any]:
    from halfopen.core.findings.diagnosis import diagnosis
    from halfopen.core.findings.evidence import Evidence
    from halfopen.present.diagnosis import document

    # A full accept queue: a finding that concerns a listener.
    rows = sample().listeners.copy()
    rows["accept_queue"] = 129
    full = Sample(**{**_fields(sample()), "listeners": rows})
    now = build(full, Sample(**{**_fields(full), "monotonic_s": 95.0}))
    return [document([diagnosis(Evidence(now, now, 5.0))], [])]


def doctor() -> list[Any]:
    from halfopen.core.features import Checkup, Feature, Grant, Outcome
    from halfopen.present.doctor import document

    grants = (Grant("capability", "CAP_BPF"),)
    feature = Feature("bpf:pulse", "queues", Outcome.NO, "refused", ("CAP_BPF",), grants)
    return [document(Checkup(Host("host", "6.1"), 0, False, (feature,)))]


def audit(directory: Path) -> list[Any]:
    from halfopen.ops.executor import Executor
    from halfopen.ops.release import release as releasing

    path = directory / "audit.jsonl"
    action = OUTCOME.action

    def fails(*_: Any, **__: Any) -> Released:
        raise UnknownTarget("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUDO_USER", "somebody")
        patch.setattr(releasing, "execute", lambda *_, **__: OUTCOME)
        by_policy = replace(
            action,
            policy="flood",
            decided_by=(("cause", "spoofed-flood"), ("fill", 0.5), ("unanswered", 7)),
            most=5,
            sparing=Sparing(clients_s=9),
        )
        Executor(str(path)).note_silence(Silence("x", 1e9, "us"))
        for one in (action, by_policy):
            Executor(str(path)).execute(one, current())
        Executor(str(path)).note(WITHHELD)
        patch.setattr(releasing, "execute", fails)
        with pytest.raises(UnknownTarget):
            Executor(str(path)).execute(action, current())
    plan, applied, undone = tuned()
    executor = Executor(str(path))
    executor._recorded(plan.as_record(), lambda: Tuned(plan, (applied,)))
    executor._recorded({"action": "undo", "reason": ""}, lambda: Undid(Undo(None), (undone,)))
    return [json.loads(line) for line in path.read_text().splitlines()]


def tuned() -> tuple[Plan, Applied, Undone]:
    """A plan with a change of a listener, its outcome, and that of its undo."""
    listener = ListeningSocket(2, "192.0.2.1", 8080, 77, 99)
    spot = Spot(Place("boot", 7, 1, "/run/netns/web", "web"), "listener.backlog", listener)
    change = ChangeListener("web", "192.0.2.1", 8080, spot.key, 512, "more room", found=FoundValue(spot, 128))
    ledger = Ledger()
    ledger.add(Began(1, 0.0, {}, spot.place, spot.key, 128, 512, listener=listener))
    applied = Applied(spot, 128, 512, 512, "done", "more room", id=1)
    return Plan(spot.place, (change,)), applied, Undone(ledger.changes[1], "undone", 128, True)


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Schema → documents of it."""
    made = [
        status(),
        connections(),
        release(),
        watch(),
        *([document] for document in kept()),
        release_time(),
        advise(),
        diagnose(),
        handshakes(),
        doctor(),
        audit(tmp_path_factory.mktemp("audit")),
    ]
    return {documents[0]["schema"]: documents for documents in made}


SCHEMAS = [
    f"halfopen.{name}/1"
    for name in (
        "status",
        "list",
        "release",
        "watch",
        "history",
        "incident",
        "release-time",
        "advise",
        "diagnose",
        "handshakes",
        "doctor",
        "audit",
    )
]


def keys(value: Any, inside_map: bool = False) -> Iterator[tuple[str, bool]]:
    """Every key in a document, and whether it is one of a map of the kernel's names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inside_map
            yield from keys(inner, key in MAPS)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def section(schema: str) -> str:
    found = re.search(rf"^## {re.escape(schema)}\n(.*?)(?=^## |\Z)", text("docs/json.md"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/json.md has no section {schema}"
    return found[1]


def tabled(part: str) -> set[str]:
    """Names in the first column of a section's tables of names."""
    names, wanted = set(), False
    for line in part.splitlines():
        if line.startswith("| Name "):
            wanted = True
        elif not line.startswith("|"):
            wanted = False
        elif wanted and (cell := re.match(r"\| `([^`]+)` \|", line)):
            names.add(cell[1])
    return names


def test_every_schema_has_its_documents(emitted: dict[str, list[Any]]) -> None:
    assert sorted(emitted) == sorted(SCHEMAS)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_json_name_is_documented(schema: str, emitted: dict[str, list[Any]]) -> None:
    part = section(schema)
    in_tables, in_text = tabled(part), set(re.findall(r"`([^`\n]+)`", part))
    found = set(keys(emitted[schema]))
    assert {key for key, in_map in found if not in_map} - in_tables == set()
    assert {key for key, in_map in found if in_map} - in_text == set()


# `login_uid` depends on how the test was started.
@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_documented_name_is_gone(schema: str, emitted: dict[str, list[Any]]) -> None:
    assert tabled(section(schema)) - {key for key, _ in keys(emitted[schema])} - {"login_uid"} == set()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_values_have_the_documented_types(schema: str, emitted: dict[str, list[Any]]) -> None:
    documented = types(section(schema))
    assert len(documented) > 5
    assert wrong(emitted[schema], documented) == set()


def test_a_value_of_another_type_is_found() -> None:
    documented = types("| `a` | number or null | x |\n| `b` | array of strings | x |\n| `c` | boolean | x |\n")
    assert wrong([{"a": 1, "b": ["x"], "c": True}, {"a": None, "b": []}], documented) == set()
    assert wrong({"a": "1", "b": [1], "c": 0}, documented) == {("a", "string"), ("b", "array"), ("c", "number")}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_examples_are_such_documents(schema: str, emitted: dict[str, list[Any]]) -> None:
    blocks = re.findall(r"```json\n(.*?)```", section(schema), re.DOTALL)
    assert blocks
    known = {key for key, _ in keys(emitted[schema])}
    for block in blocks:
        try:
            documents = [json.loads(block)]
        except json.JSONDecodeError:
            documents = [json.loads(line) for line in block.splitlines()]
        for document in documents:
            assert document["schema"] == schema
            assert {key for key, _ in keys(document)} - known == set()


@pytest.mark.parametrize("name", build_docs.DOCUMENTS)
def test_tables_are_those_of_the_registries(name: str) -> None:
    assert build_docs.made(text(name)) == text(name), "run `make docs`"
    assert text(name).count("<!-- end -->") == text(name).count("<!-- made by scripts/build_docs.py: ") > 0


def test_every_table_of_the_registries_is_in_a_document() -> None:
    named = re.findall(r"<!-- made by scripts/build_docs.py: (\S+) -->", "".join(map(text, build_docs.DOCUMENTS)))
    assert set(named) == set(build_docs.TABLES)


def test_the_chinese_table_of_causes_has_the_same_rows() -> None:
    """It is written by hand: the ids, their order and what is to be typed are those of the registry's table."""

    def rows(name: str) -> list[tuple[str, list[str]]]:
        found = re.findall(r"^\| [^|]+ \| `([a-z-]+)` \| ([^|]+) \|$", text(name), re.MULTILINE)
        return [(id, re.findall(r"`(halfopen [^`]+)`", advice)) for id, advice in found]

    english, chinese = map(rows, READMES)
    assert len(english) > 10
    assert english == chinese


def test_every_metric_is_documented_and_no_other() -> None:
    rows = re.findall(
        r"^\| `halfopen_(\w+)` \| (gauge|counter|summary|histogram) \|", text("docs/metrics.md"), re.MULTILINE
    )
    known = [(f.name, f.kind.value) for f in (*NAMESPACE_METRICS, *LISTENER_METRICS, *WATCH_METRICS)]
    assert rows == [(name + "_total" * (kind == "counter"), kind) for name, kind in known]
    used = set(re.findall(r"halfopen_\w+", text("docs/metrics.md")))
    assert used == {f"halfopen_{name}" for name, _ in rows}


def test_tables_of_the_documents_are_as_their_registry_has_them() -> None:
    table = text("docs/json.md").partition("### Findings")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(RULES)


# --- commands and options ---------------------------------------------------------------------------------------------


def code_of(name: str) -> list[str]:
    """Everything a document sets as code: the lines of blocks, and inline spans."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```[a-z]*\n.*?^```", "", text(name), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def commands_in(line: str) -> list[list[str]]:
    """The `halfopen …` commands in a line of code, each as words; what a lab runs is a command of its own."""
    line = line.replace("…", " ").partition("#")[0]
    found = []
    for piece in re.split(r"(?:^|[\s'`(/])halfopen (?=[a-z-])", line)[1:]:
        # Up to what ends a command in a shell or in a JSON string, and before the command that a lab runs.
        piece = re.split(r"""['"|;&)`<>]| --(?: |$)|\s{2,}""", piece)[0]
        words = shlex.split(piece)
        if words and words[0] in COMMANDS:
            found.append(words)
    return found


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def options_of(name: str) -> set[str]:
    """The options of a command, and of the commands below it where it is a group."""

    def of(command: click.Command) -> set[str]:
        context = click.Context(command, **command.context_settings)
        found = {option for parameter in command.get_params(context) for option in parameter.opts}
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                one = command.get_command(context, below)
                assert one is not None
                found |= of(one)
        return found

    return of(command_of(name)) | {"--help", "-h"}


ALL_OPTIONS = {"--version"}.union(*(options_of(name) for name in COMMANDS))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_exists(name: str) -> None:
    wrong = []
    for line in code_of(name):
        for words in commands_in(line):
            wrong += [f"{line}: {w}" for w in words[1:] if w.startswith("--") and w not in options_of(words[0])]
        first = line.split(" ")[0]
        if first.startswith("--") and first not in ALL_OPTIONS:
            wrong.append(line)
        called = re.match(r"(?:\$ )?(?:sudo )?halfopen ([a-z-]+)", line)
        if called and called[1] not in COMMANDS:
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("name", READMES)
def test_the_first_commands_work_as_they_stand(name: str) -> None:
    block = re.search(r"^```sh\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)
    assert block
    first, second = (shlex.split(line, comments=True) for line in block[1].splitlines())
    # In a shell `<this>` reads a file, and `halfopen` is not found where no more than `make` was run.
    assert first == ["make", "demo"]
    assert re.search(r"^demo: ready-run", text("Makefile"), re.MULTILINE)
    assert second == [".venv/bin/halfopen", "status"]
    assert "PYTHON := .venv/bin/python\n" in text("Makefile")
    wheel = tomllib.loads(text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "halfopen" in wheel["shared-scripts"].values()


@pytest.mark.parametrize("name", READMES)
def test_the_readme_names_every_command(name: str) -> None:
    named = {words[0] for line in code_of(name) for words in commands_in(line)}
    assert named == set(COMMANDS)


def test_both_readmes_have_the_same_commands() -> None:
    english, chinese = ({" ".join(w) for line in code_of(n) for w in commands_in(line)} for n in READMES)
    assert len(english) > 10
    assert english == chinese


def test_both_readmes_show_the_same_output() -> None:
    def shown(name: str) -> list[str]:
        blocks = re.findall(r"^```([a-z]*)\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
        return [block for kind, block in blocks if kind in ("", "json")]

    english = shown("README.md")
    assert english
    assert english == shown("README.zh-CN.md")


def test_the_sample_configuration_is_accepted() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", text("docs/commands.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert parse(blocks[0], "docs/commands.md", sinks.keys()).by_age.older_than_s == 15


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def anchors(markdown: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
