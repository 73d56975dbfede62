"""`tune log`: what is in force, of which namespace and listener, in columns that hold."""

from __future__ import annotations

import pytest
from rich.console import Console

from halfopen.core.tune import keys
from halfopen.core.tune.ledger import Ledger, Now
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.spots import ListeningSocket, Place
from halfopen.present.tune import history
from tune_made import (
    FILE,
    PLACE,
    journal,
    lines,
)


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
