"""`tune apply` and `tune undo`: a plan, what became of it, and the command that undoes it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from halfopen.core.tune import keys
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.spots import ListeningSocket
from halfopen.present.tune import changes, rows
from tune_made import (
    DONE,
    FILE,
    HERE,
    LISTENER,
    OVERRIDES,
    PLACE,
    SOCKET,
    change,
    lines,
    made,
    tuned,
)

ROOT = Path(__file__).resolve().parents[4]


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


def test_listeners_that_override_are_named(out: Console) -> None:
    changes.applied(out, tuned(DONE, place=PLACE), None, [SOCKET])
    *_, not_on, also, _ = lines(out)
    assert not_on == "Not on :443, whose own TCP_SYNCNT = 3 overrides it"
    assert also == "Also  halfopen tune listener :443 --retries 2 --netns web"
