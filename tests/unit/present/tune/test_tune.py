"""`tune` in words and in JSON: first the answer, last the command; every name of a document is in docs/json.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from documented import types, wrong
from halfopen.core.errors import NotPermitted
from halfopen.core.policy.actions import ChangeLine, ChangeListener, ChangeSetting, FoundValue, PlannedChange, Undo
from halfopen.core.sample import Process
from halfopen.core.tune import false_cures, keys, settings
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.ledger import Ledger, Now
from halfopen.core.tune.listener import ListenerSummary, Running, Wishes, changes_for
from halfopen.core.tune.outcomes import Applied, Tuned, Undid, Undone
from halfopen.core.tune.plan import Plan, found
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.shown import Shown
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.tune.sysctl_d import Override
from halfopen.present.tune import changes, history, listeners, overview, rows

ROOT = Path(__file__).resolve().parents[4]
PLACE = Place("boot", 7, 1, "/run/netns/web", "web")
VALUES = {keys.SYNACK: 5, keys.COOKIES: 1, keys.SOMAXCONN: 4096}
LISTENER = ListeningSocket(2, "192.0.2.1", 8080, 77, 99)
RUNNING = Running(LISTENER, 128, 0, None, 0, processes=(Process(1, "web", "web.service", "0123456789ab"),))
HERE = Place("boot", 8, 2, "/proc/self/ns/net", "self")
DONE = Applied(Spot(PLACE, keys.SYNACK), 5, 2, 2, "done", "because", "", 1)
ON_LISTENER = Applied(Spot(PLACE, "listener.backlog", LISTENER), 4, 512, 512, "done", id=3)
FILE = "/etc/sysctl.d/60-halfopen.conf"
OVERRIDES = [
    Override(keys.SYNACK, "5", "/etc/sysctl.d/99-x.conf", 3),
    Override(keys.SYNACK, None, "/etc/sysctl.conf", 1, at_boot=False),
]
UNREAD = {keys.ABORT: NotPermitted("reading it is refused", hint="run as root")}
SOCKET = ListenerSummary("::", 443, 4096, 3, 5)


def change(key: str, old: int | None, new: int, cost: str = "", place: Place = HERE, file: str = "") -> PlannedChange:
    if file:
        return ChangeLine(file, key, new, "at boot", FoundValue(Spot(place, key, file=file), old))
    return ChangeSetting(place.name, key, new, "because", cost, FoundValue(Spot(place, key), old))


def made(key: str, old: int | None, new: int, state: Any = "done", id: int = 1, **more: Any) -> Applied:
    return Applied(Spot(HERE, key, file=more.get("file")), old, new, new, state, id=id, cost=more.get("cost", ""))


def tuned(*applied: Applied, place: Place = HERE, by: str = "", **plan: Any) -> Tuned:
    return Tuned(Plan(place, (), **plan), applied, (), 9.0 if by else None, by)


def planned(sockets: list[Running], wishes: Wishes, somaxconn: int, first: str | None = None, synack: int = 5) -> Plan:
    return Plan(HERE, tuple(changes_for(sockets, wishes, somaxconn, synack, HERE)), first=first)


def journal() -> list[Any]:
    ledger = Ledger()
    ledger.add(Began(1, 0.0, {"uid": 0}, PLACE, keys.SYNACK, 5, 2))
    ledger.add(Then(1, 0.0, "done", 2))
    ledger.add(Began(2, 0.0, {"uid": 0, "sudo_user": "somebody"}, PLACE, keys.SYNACK, 2, 1, until_s=9.0))
    ledger.add(Then(2, 0.0, "done", 1))
    return [(c, Now(1)) for c in ledger.changes.values()]


def documents() -> dict[str, Any]:
    cures = [(false_cures.FALSE_CURES[0], None)]
    undone = Undone(journal()[0][0], "undone", 5, True)
    outcome = tuned(DONE, ON_LISTENER, by="child", overrides=OVERRIDES, notes=("note",), keep=(SOCKET,))
    outcome = replace(outcome, overdue=(undone,))
    undid = Undid(Undo(None), (undone,), (undone,))
    made = [
        overview.document(Shown("self", 7, settings.advise(VALUES), cures, [SOCKET], unread=UNREAD)),
        changes.apply_document(outcome, None, [SOCKET]),
        changes.undo_document(undid, None),
        listeners.document("self", [RUNNING], 4096, 5, outcome),
        history.document("/x", journal()),
    ]
    return {document["schema"]: document for document in made}


def names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def section(schema: str) -> str:
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(schema)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/json.md has no section {schema}"
    return found[1]


@pytest.mark.parametrize("schema", documents())
def test_every_name_is_documented_and_every_example_is_such_a_document(schema: str) -> None:
    part = section(schema)
    names = set(names_in(documents()[schema]))
    assert names - set(re.findall(r"`([^`\n]+)`", part)) == set()
    assert set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)) - names == set()
    assert wrong(documents()[schema], types(part)) == set()
    [block] = re.findall(r"```json\n(.*?)```", part, re.DOTALL)
    example = json.loads(block)
    assert (example["schema"], set(names_in(example)) - names) == (schema, set())


def lines(console: Console) -> list[str]:
    return console.export_text().rstrip().splitlines()


@pytest.fixture
def out() -> Console:
    return Console(record=True, width=200, quiet=False, file=open("/dev/null", "w"))


@pytest.fixture(autouse=True)
def _close(out: Console) -> Iterator[None]:
    yield
    out.file.close()


def test_show_begins_with_the_answer_and_ends_with_the_command(out: Console) -> None:
    shown = Shown("web", 7, settings.advise(VALUES), [], [SOCKET], 4096)
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    first, *rest, last = lines(out)
    assert first == "1 setting in web should change: tcp_synack_retries"
    assert last == "Next  halfopen tune apply"
    assert any("63 s" in line for line in rest)
    assert any("[::]:443" in line and "as much as somaxconn allows" in line for line in rest)


def test_what_could_not_be_read_is_said(out: Console) -> None:
    shown = Shown("self", 7, settings.advise({keys.SYNACK: 2}), unread=UNREAD)
    overview.show(out, shown, "halfopen tune apply")
    first, *rest = lines(out)
    assert first == "Nothing to change: every setting that was read is as it should be; 1 could not be read"
    [row] = [line.split() for line in rest if "tcp_abort_on_overflow" in line]
    assert row[1:] == ["?", "could", "not", "be", "read:", "reading", "it", "is", "refused;", "run", "as", "root"]


def test_nothing_to_change_has_no_command(out: Console) -> None:
    overview.show(out, Shown("self", 7, settings.advise({keys.SYNACK: 2})), "halfopen tune apply")
    first, *rest = lines(out)
    assert first == "Nothing to change: every setting is as it should be"
    assert not any(line.startswith(("Next", "Also")) for line in rest)


@pytest.mark.parametrize(
    ("values", "many", "first", "last"),
    [
        (VALUES, False, "Nothing has to change (3 half-open connections now); worth changing before a flood: ", "Also"),
        (VALUES, True, "1 setting should change: ", "Next"),
        ({**VALUES, keys.COOKIES: 0}, False, "1 setting should change: tcp_syncookies; worth changing", "Next"),
    ],
)
def test_one_judgement_on_one_screen(out: Console, values: dict[str, int], many: bool, first: str, last: str) -> None:
    needed = frozenset(settings.needed(values, many))
    shown = Shown("self", 7, settings.advise(values), needed=needed, half_open=3)
    overview.show(out, shown, "halfopen tune apply")
    text = lines(out)
    assert text[0].startswith(first)
    assert "tcp_synack_retries" in text[0]
    assert text[-1] == f"{last}  halfopen tune apply"
    assert sum("should change" in line or "to change" in line.lower() for line in text) <= 1


def test_what_does_nothing_is_left_out_and_counted(out: Console) -> None:
    values = {**VALUES, keys.SYN_BACKLOG: 512, keys.FIN_TIMEOUT: 60, keys.CONNTRACK + "close": 10}
    cures = [(false_cures.FALSE_CURES[0], None)]
    shown = Shown("self", 7, settings.advise(values), cures, needed=frozenset())
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    brief = "\n".join(lines(out))
    assert "tcp_syncookies" in brief
    assert not any(word in brief for word in ("tcp_fin_timeout", "tcp_max_syn_backlog", "conntrack", "tcp_tw_recycle"))
    assert "3 settings that do nothing for half-open connections here are left out" in brief
    assert "More  halfopen tune show --all" in brief
    overview.show(out, shown, "halfopen tune apply")
    whole = "\n".join(lines(out))
    assert all(word in whole for word in ("tcp_fin_timeout", "tcp_max_syn_backlog", "conntrack", "tcp_tw_recycle"))
    assert "--all" not in whole


def test_apply_ends_with_the_undo(out: Console) -> None:
    changes.applied(out, tuned(DONE, made(keys.COOKIES, 1, 300, "refused", 2), by="systemd", for_s=600.0))
    first, *_, by, last = lines(out)
    assert first == "1 setting changed, 1 refused"
    assert by == "Reverts automatically in 10 min (by a systemd timer)"
    assert last == "Undo  halfopen tune undo 1"


def test_a_plan(out: Console) -> None:
    settled = change(keys.COOKIES, 1, 1)
    todo = (change(keys.SYNACK, 5, 2), settled, change(keys.SYNACK, None, 2, file=FILE))
    changes.plan(out, Plan(HERE, todo, overrides=tuple(OVERRIDES), notes=("tuned runs",)))
    first, *_, last = lines(out)
    assert first == f"1 setting and 1 entry of {FILE} to change"
    out.clear()
    changes.plan(out, Plan(HERE, (settled,)))
    assert lines(out)[-1] == "Nothing to change: every value is set already"
    assert not any(line.startswith("Costs") for line in lines(out))
    assert last == "Note  tuned runs"


def test_a_price_is_told_before_and_after(out: Console) -> None:
    price = "a full SYN queue locks new clients out"
    todo = (
        change(keys.SOMAXCONN, 128, 4096, "running listeners keep theirs", PLACE),
        change(keys.COOKIES, 1, 0, price, PLACE),
    )
    keep = tuple(ListenerSummary("0.0.0.0", 80 + n, 128, None, None) for n in range(6))
    changes.plan(out, Plan(PLACE, todo, keep=keep))
    text = lines(out)
    assert "Costs  tcp_syncookies: a full SYN queue locks new clients out" in text
    assert text[-5:-1] == [f"Also  halfopen tune listener :{80 + n} --backlog 4096 --netns web" for n in range(4)]
    assert text[-1] == "and 2 more listeners: halfopen tune show --netns web"
    changes.applied(out, tuned(made(keys.COOKIES, 1, 0, cost=price)))
    assert "Costs  a full SYN queue locks new clients out" in lines(out)


def test_who_overrides_an_entry_is_told(out: Console) -> None:
    changes.applied(out, tuned(made(keys.SYNACK, None, 2, file=FILE), overrides=OVERRIDES))
    first, row, *rest, last = lines(out)
    assert first == f"1 entry of {FILE} changed"
    assert row.split() == ["1", "tcp_synack_retries", "in", "60-halfopen.conf", "not", "set", "→", "2", "done"]
    start = "Overridden  tcp_synack_retries: /etc/sysctl"
    assert rest == [
        f"{start}.d/99-x.conf:3 is read later and sets it to 5",
        f"{start}.conf:1 is read later and leaves it out, when sysctl --system is run",
    ]
    assert last == "Undo  halfopen tune undo 1"


def test_undo_counts_what_became_of_it(out: Console) -> None:
    changes.undone(
        out,
        [
            ChangeRow("net.x", 1, 5, "undone", id=1),
            ChangeRow("net.x", 1, 1, "left", id=2),
            ChangeRow("y", 1, 1, "failed", id=3),
        ],
    )
    first, *_, last = lines(out)
    assert first == "1 change undone, 1 left alone, 1 failed"
    assert last == "Next  halfopen tune undo 3"


def test_what_was_changed_is_named() -> None:
    assert rows.named(keys.SYNACK, None, None) == "tcp_synack_retries"
    assert rows.named(keys.SYNACK, None, "/etc/sysctl.d/60-halfopen.conf") == ("tcp_synack_retries in 60-halfopen.conf")
    assert rows.named("listener.backlog", LISTENER, None) == "192.0.2.1:8080 backlog"
    assert rows.named("listener.retries", ListeningSocket(10, "::", 443, 7, 9), None) == ":443 retries"


def test_no_value_is_words(out: Console) -> None:
    changes.undone(out, [ChangeRow(keys.SYNACK, 2, None, "undone", id=1, file="/etc/sysctl.d/60-halfopen.conf")])
    assert "2 → not set" in lines(out)[1]


def test_the_log_says_what_is_in_force(out: Console) -> None:
    history.show(out, "/x", journal())
    first, titles, one, two, last = lines(out)
    assert first == "2 changes in force, 2 recorded in all (/x)"
    assert titles.split() == ["ID", "TIME", "CHANGE", "VALUE", "NAMESPACE", "STATE"]
    assert "web" in one.split()
    assert one.rstrip().endswith("under change 2")
    assert "until 1970" in two
    assert last == "Undo  halfopen tune undo --all"


def test_the_log_names_the_namespace_and_the_listener(out: Console) -> None:
    here, ledger = Place("boot", 7, 1, "/proc/self/ns/net", "self"), Ledger()
    other = Place("boot", 8, 2, "/proc/self/ns/net", "self")
    four, six = ListeningSocket(2, "0.0.0.0", 443, 1, 1), ListeningSocket(10, "::", 443, 2, 2)
    ledger.add(Began(1, 0.0, {"reason": "ticket 12\x1b[31m"}, here, keys.SYNACK, 5, 2))
    ledger.add(Began(2, 0.0, {}, other, keys.SYNACK, 5, 2))
    ledger.add(Began(3, 0.0, {}, PLACE, "listener.backlog", 8, 16, listener=four))
    ledger.add(Began(4, 0.0, {}, PLACE, "listener.backlog", 8, 16, listener=six))
    ledger.add(Began(5, 0.0, {}, here, keys.SYNACK, None, 2, file=FILE))
    history.show(out, "/x", [(c, None) for c in ledger.changes.values()], here)
    one, two, three, four_, five = lines(out)[2:7]
    assert "this namespace" in one
    assert "reason: ticket 12?[31m" in one
    assert "net:[8]" in two
    assert "0.0.0.0:443 backlog" in three
    assert "[::]:443 backlog" in four_
    assert "the machine" in five


def test_the_log_keeps_its_columns_at_80(out: Console) -> None:
    narrow = Console(record=True, width=80, file=out.file)
    ledger, place = Ledger(), Place("boot", 7, 1, "/proc/4711/ns/net", "/proc/4711/ns/net")
    for id, old, new in ((1, 5, 2), (2, 2, 1)):
        ledger.add(Began(id, 0.0, {}, place, keys.SYNACK, old, new))
        ledger.add(Then(id, 0.0, "done", new))
    history.show(narrow, "/x", [(c, Now(1)) for c in ledger.changes.values()])
    _, titles, *rest, _ = lines(narrow)
    assert titles.split() == ["ID", "TIME", "CHANGE", "VALUE", "STATE"]
    made = [line for line in rest if "→" in line]
    assert [line.index("→") for line in made] == [titles.index("VALUE") + 2] * 2
    assert [line.index("done") for line in made] == [titles.index("STATE")] * 2
    assert any("in /proc/4711/ns/net; under change 2" in line for line in rest)


def test_a_log_that_is_not_the_whole_says_so(out: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # not that of an activated .venv
    history.show(out, "/home/me/tune.jsonl", [], hidden="/var/lib/halfopen/tune.jsonl")
    first, second, last = lines(out)
    assert first == "No changes recorded for this user (/home/me/tune.jsonl)"
    assert second == "Changes made as root are in /var/lib/halfopen/tune.jsonl, which only root can read"
    assert last == "Next  sudo halfopen tune log"


def test_listeners_of_one_port_are_told_apart(out: Console) -> None:
    pair = [
        Running(ListeningSocket(2, "0.0.0.0", 443, 1, 1), 8, 0, 2, 0),
        Running(ListeningSocket(10, "::", 443, 2, 2), 8, 0, 2, 0),
    ]
    listeners.show(out, "self", pair, 4096, 2)
    titles = [line.split(": half-open")[0] for line in lines(out) if ": half-open" in line]
    assert titles == ["0.0.0.0:443", "[::]:443"]
    listeners.plan(out, planned(pair, Wishes(backlog=16), 4096, synack=2))
    first, one, two, *_ = lines(out)
    assert first == "1 option of 0.0.0.0:443 and [::]:443 to change"
    assert (one.split()[0], two.split()[0]) == ("0.0.0.0:443", "[::]:443")
    bound = [replace(pair[0], ifindex=n) for n in (2, 3)]
    listeners.show(out, "self", bound, 4096, 2)
    titles = [line.split(": half-open")[0] for line in lines(out) if ": half-open" in line]
    assert titles == [":443 on device 2", ":443 on device 3"]


def screens(out: Console) -> list[str]:
    """Everything that `tune` shows in tables, with long names in it."""
    ledger, key = Ledger(), keys.CONNTRACK + "unacknowledged"
    place = Place("boot", 8, 2, "/run/netns/a", "a-namespace-of-a-customer-with-a-long-name")
    ledger.add(Began(1, 0.0, {"reason": "a flood on the front end that lasted"}, place, key, 300, 100, until_s=9e9))
    ledger.add(Began(2, 0.0, {}, place, key, None, 2, file=FILE))
    history.show(out, "/x", [(c, None) for c in ledger.changes.values()])
    cost = "a client whose packets are lost must send its SYN again, which takes a second or more"
    line = Applied(Spot(PLACE, key, file=FILE), 300, 100, 100, "done", "because of this and that", "so", 1)
    notes = ("tuned runs with a profile that sets it to 5, too",)
    outcome = tuned(line, replace(DONE, cost=cost), overrides=OVERRIDES, notes=notes)
    changes.applied(out, outcome, None, [SOCKET])
    there = rows.applied_rows(outcome.applied)
    changes.undone(
        out, [replace(r, state="undone", why="the kernel made 5 of 3", where="net:[4026531840]") for r in there]
    )
    values = {**VALUES, key: 300, keys.COOKIES: 0, keys.RTO_MAX: 1000}
    cures = [(false_cures.FALSE_CURES[0], 1)]
    shown = Shown("web", 7, settings.advise(values), cures, [SOCKET], needed=frozenset(), half_open=3)
    overview.show(out, shown, "halfopen tune apply")
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    listeners.show(out, "web", group(), 4096, 5)
    return lines(out)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_word_is_broken_and_every_line_fits(width: int) -> None:
    with open("/dev/null", "w") as nowhere:
        narrow = screens(Console(record=True, width=width, file=nowhere))
        wide = screens(Console(record=True, width=1000, file=nowhere))
    words = {word.strip(";") for line in narrow for word in line.split()}
    # The log has the date without its year there.
    words = {word for word in words if not re.fullmatch(r"\d\d-\d\d|\d\d:\d\d", word)}
    # Titles of columns are shown where they fit.
    assert words <= {word.strip(";") for line in wide for word in line.split()}
    # Commands are left whole, to be pasted.
    commands = ("Next", "Also", "Undo", "More")
    assert [line for line in narrow if len(line) > width and not line.startswith(commands)] == []


def group() -> list[Running]:
    return [Running(ListeningSocket(2, "0.0.0.0", 443, n, n), 128, 0, None, 0) for n in (1, 2, 3)]


def test_a_group_of_sockets_is_one(out: Console) -> None:
    listeners.show(out, "web", group(), 4096, 5)
    first, backlog, *_, last = lines(out)
    assert first == ":443 in web, 3 sockets: half-open connections are released after 63 s"
    assert backlog.split()[:2] == ["backlog", "128"]
    assert last == "Next  halfopen tune listener :443 --backlog 4096 --release-time 7s --netns web"


def test_a_listener_that_cannot_be_read_says_why(out: Console) -> None:
    problem = NotPermitted("reaching into web (pid 7) needs CAP_SYS_PTRACE", hint="run as root (sudo)")
    listeners.show(out, "self", [Running(LISTENER, 4096, 0, None, 0, problem=problem)], 4096, 2)
    first, _, retries, *_ = lines(out)
    assert first == "192.0.2.1:8080: cannot tell when half-open connections are released"
    assert retries.split(maxsplit=2)[2] == problem.line()


def test_a_listener_that_cannot_be_read_is_proposed_no_change(out: Console) -> None:
    problem = NotPermitted("no process that can be seen from here holds 192.0.2.1:8080")
    listeners.show(out, "self", [Running(LISTENER, 128, 0, None, 0, problem=problem)], 4096, 5)
    assert not any(line.startswith("Next") for line in lines(out))


def test_what_is_in_the_way_comes_first(out: Console) -> None:
    listeners.plan(out, planned(group(), Wishes(backlog=512), 256, "halfopen tune apply"))
    first, row, cost, last = lines(out)
    assert first == "1 option of 3 sockets on :443 to change"
    assert cost == "Costs  up to 80 KiB of kernel memory under a flood"
    assert row.split()[:5] == [":443", "backlog", "128", "→", "256"]
    assert last == "First  halfopen tune apply"


def test_what_was_changed_on_a_group(out: Console) -> None:
    plan = planned(group(), Wishes(retries=2, defer_accept_s=5), 256)
    applied = [
        Applied(found(c).spot, found(c).value, c.value, c.value, "done", c.reason, c.why, n)
        for n, c in enumerate(plan.changes, 1)
        if isinstance(c, ChangeListener)
    ]
    listeners.changed(out, Tuned(plan, tuple(applied)), None)
    first, one, two, last = lines(out)
    assert first == "2 options of 3 sockets on :443 changed"
    assert one.split()[:6] == ["1-3", ":443", "retries", "not", "set", "→"]
    assert "off → 7 s" in two
    assert last == "Undo  halfopen tune undo 1 2 3 4 5 6"


def test_listeners_that_override_are_named(out: Console) -> None:
    changes.applied(out, tuned(DONE, place=PLACE), None, [SOCKET])
    *_, not_on, also, _ = lines(out)
    assert not_on == "Not on :443, whose own TCP_SYNCNT = 3 overrides it"
    assert also == "Also  halfopen tune listener :443 --retries 2 --netns web"


def test_every_old_cure_has_a_test_that_is_there() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    files = [ROOT / f"tests/kernel/{name}.py" for name in ("test_tune", "test_tune_listener", "test_tune_checks")]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 6
    assert [name for name in named if f"def {name}(" not in tests] == []
