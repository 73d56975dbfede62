"""After a boot: a change is gone, unless our file set its value again; then it lives on where the machine booted."""

from __future__ import annotations

from halfopen.core.tune import boots
from halfopen.core.tune.ledger import Change, Ledger, replay
from halfopen.core.tune.records import Began, Then, encode
from halfopen.core.tune.spots import ListeningSocket, Place

OLD, NEW = Place("old", 7, 1, "/proc/self/ns/net", "self"), Place("new", 7, 1, "/proc/1/ns/net", "pid:1")
ELSEWHERE = Place("old", 8, 2, "/run/netns/web", "web")
A, B, FILE = "net.ipv4.tcp_synack_retries", "net.ipv4.tcp_syncookies", "/etc/sysctl.d/60-halfopen.conf"


def ledger(*changes: tuple[Place, str, int | None, int, str | None]) -> Ledger:
    """A ledger of changes that are done: where, which, old, new, file."""
    made = Ledger()
    for id, (place, key, old, new, file) in enumerate(changes, 1):
        made.add(Began(id, 0.0, {}, place, key, old, new, file=file))
        made.add(Then(id, 0.0, "done", new))
    return made


def settle(made: Ledger, here: Place | None = NEW, **values: int) -> dict[int, Change]:
    named = {f"net.ipv4.{key}": value for key, value in values.items()}
    for record in boots.after(made, 1.0, "new", here, named):
        made.add(record)
    return made.changes


def test_without_an_entry_it_is_gone() -> None:
    made = ledger((OLD, A, 5, 2, None), (ELSEWHERE, A, 5, 2, None))
    assert boots.keys_to_look_at(made, "new") == set()
    assert [(c.state, c.why) for c in settle(made, None).values()] == [("gone", boots.GONE)] * 2


def test_with_an_entry_it_lives_on_and_the_entry_goes_along() -> None:
    made = ledger((OLD, A, 5, 2, None), (OLD, A, None, 2, FILE))
    assert boots.keys_to_look_at(made, "new") == {A}
    changes = settle(made, tcp_synack_retries=2)
    assert [(c.state, c.began.place, c.value, c.original) for c in changes.values()] == [
        ("done", NEW, 2, 5),
        ("done", NEW, 2, None),
    ]
    # Nothing is left to settle; the next boot finds the pair again.
    assert boots.after(made, 2.0, "new", NEW, {A: 2}) == []
    newer = Place("newer", 7, 1, "", "self")
    for record in boots.after(made, 3.0, "newer", newer, {A: 2}):
        made.add(record)
    assert [c.began.place for c in made.changes.values()] == [newer, newer]


def test_only_what_an_entry_set_again_lives_on() -> None:
    made = ledger((OLD, A, 5, 2, None), (OLD, A, 2, 1, None), (OLD, A, None, 1, FILE), (ELSEWHERE, A, 5, 1, None))
    states = {id: (c.state, c.original) for id, c in settle(made, tcp_synack_retries=1).items()}
    assert states == {1: ("gone", 5), 2: ("done", 5), 3: ("done", None), 4: ("gone", 5)}


def test_a_stack_of_entries_keeps_all_that_they_lead_back_to() -> None:
    made = ledger((OLD, A, 5, 2, None), (OLD, A, None, 2, FILE), (OLD, A, 2, 1, None), (OLD, A, 2, 1, FILE))
    assert [c.state for c in settle(made, tcp_synack_retries=1).values()] == ["done"] * 4


def test_a_boot_that_set_something_else_ends_it() -> None:
    made = ledger((OLD, A, 5, 2, None), (OLD, A, None, 2, FILE))
    assert [c.state for c in settle(made, tcp_synack_retries=4).values()] == ["gone", "done"]
    assert made.changes[2].began.place == OLD


def test_what_could_not_be_looked_at_stays_open() -> None:
    for here, values in ((None, {}), (NEW, {})):
        made = ledger((OLD, A, 5, 2, None), (OLD, A, None, 2, FILE), (OLD, B, 1, 2, None))
        assert [c.state for c in settle(made, here, **values).values()] == ["done", "done", "gone"]
        assert made.changes[1].began.place == OLD


def test_interrupted_before_the_boot_it_is_told_by_the_value_too() -> None:
    made = ledger((OLD, A, 5, 2, None), (OLD, A, None, 2, FILE))
    made.add(Then(1, 0.0, "undoing"))
    assert settle(made, tcp_synack_retries=2)[1].state == "done"


def test_a_listener_of_another_boot_is_gone() -> None:
    made = ledger((OLD, A, None, 2, FILE))
    made.add(Began(2, 0.0, {}, OLD, "listener.backlog", 2, 4, listener=ListeningSocket(2, "0.0.0.0", 80, 1, 1)))
    assert settle(made)[2].state == "gone"


def test_the_place_is_read_back_from_the_disk() -> None:
    lines = [
        encode(Began(1, 0.0, {}, OLD, A, 5, 2)),
        encode(Then(1, 0.0, "done", 2)),
        encode(Then(1, 0.0, "done", 2, boots.AGAIN, place=NEW)),
    ]
    change = replay(b"".join(lines)).changes[1]
    assert (change.began.place, change.value, change.state) == (NEW, 2, "done")
