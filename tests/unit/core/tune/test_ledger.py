"""The journal of changed settings: in force or not, what an undo writes, and what a crash left behind."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from halfopen.core.errors import JournalError
from halfopen.core.tune.ledger import Clocks, Ledger, replay
from halfopen.core.tune.records import FOLLOWS, MAX_LINE, Began, Record, Then, encode, whole_lines
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.tune.undoing import overtaken, resolve, undo_step

PLACE = Place("boot", 4026531840, 1, "/run/netns/web", "web")
OTHER = Place("boot", 4026531840, 2, "/run/netns/web", "web")
KEY = "net.ipv4.tcp_synack_retries"
SPOT = Spot(PLACE, KEY)
FILE = "/etc/sysctl.d/60-halfopen.conf"
LISTENER = ListeningSocket(2, "0.0.0.0", 8080, 77, 99)


class Crash(Exception):
    pass


class World(Struct):
    """One spot, and commands that work on it as the real ones do; killed after `fuse` steps."""

    spot: Spot = SPOT
    value: int | None = 5
    disk: bytes = b""
    fuse: int | None = None

    def step(self) -> None:
        if self.fuse is not None:
            if self.fuse == 0:
                self.fuse = None
                raise Crash
            self.fuse -= 1

    def append(self, *records: Record) -> None:
        self.step()
        replay(self.disk + b"".join(map(encode, records)))
        self.disk += b"".join(map(encode, records))

    def write(self, value: int | None) -> None:
        self.step()
        self.value = value

    def ledger(self) -> Ledger:
        return replay(self.disk)

    def settle(self) -> Ledger:
        for change in self.ledger().live():
            found = resolve(self.ledger(), change, self.value)
            if found:
                self.append(Then(change.id, 0.0, found.state, self.value))
        return self.ledger()

    def apply(self, new: int | None) -> None:
        ledger = self.settle()
        if new == self.value:
            return
        id, old = ledger.next_id, self.value
        passed = [Then(c.id, 0.0, "left", old) for c in overtaken(ledger, self.spot, old)]
        self.append(*passed, self.began(id, old, new))
        self.write(new)
        self.append(Then(id, 0.0, "done", new))

    def began(self, id: int, old: int | None, new: int | None) -> Began:
        spot = self.spot
        return Began(id, 0.0, {}, spot.place, spot.key, old, new, listener=spot.listener, file=spot.file)

    def undo(self, id: int) -> None:
        ledger = self.settle()
        change = ledger.changes.get(id)
        if change is None or not change.live:
            return
        plan = undo_step(ledger, change, self.value)
        if plan.writes:
            assert self.value == change.value, "an undo wrote over a value that is not ours"
            self.append(Then(id, 0.0, "undoing"))
            self.write(plan.value)
        self.append(Then(id, 0.0, plan.state, self.value))

    def undo_all(self) -> None:
        for change in self.settle().live():
            self.undo(change.id)


VALUES = st.integers(0, 5)
SPOTS = st.sampled_from([SPOT, Spot(PLACE, "listener.backlog", LISTENER)])
APPLY = st.tuples(st.just("apply"), VALUES, st.none() | st.integers(0, 4))
UNDO = st.tuples(st.just("undo"), st.integers(1, 8), st.none() | st.integers(0, 4))
OR_NOTHING = st.tuples(st.just("apply"), st.none() | VALUES, st.none() | st.integers(0, 4))
Operation = tuple[str, int, int | None]


@given(SPOTS, st.lists(APPLY | UNDO, max_size=16))
def test_any_order_with_crashes_ends_at_the_original(spot: Spot, operations: list[Operation]) -> None:
    ends_at_the_original(World(spot), 5, operations)


@given(st.none() | VALUES, st.lists(OR_NOTHING | UNDO, max_size=16))
def test_a_line_that_was_not_there_goes_again(original: int | None, operations: list[Operation]) -> None:
    ends_at_the_original(World(Spot(PLACE, KEY, file=FILE), original), original, operations)


def ends_at_the_original(world: World, original: int | None, operations: list[Operation]) -> None:
    for name, argument, fuse in operations:
        world.fuse = fuse
        try:
            world.apply(argument) if name == "apply" else world.undo(argument)
        except Crash:
            continue
        world.fuse = None
        stack = world.settle().stack(world.spot)
        # What the journal says is what is so.
        assert world.value == (stack[-1].value if stack else original)
    world.fuse = None
    world.undo_all()
    assert world.value == original
    assert world.ledger().live() == []


@given(st.lists(APPLY | UNDO, max_size=10), st.lists(APPLY | UNDO, max_size=10))
def test_what_somebody_else_set_stays(before: list[Operation], after: list[Operation]) -> None:
    world = World()
    for name, argument, _ in before:
        world.apply(argument) if name == "apply" else world.undo(argument)
    world.value = 9  # nobody here sets that
    for name, argument, _ in after:
        world.apply(argument) if name == "apply" else world.undo(argument)
        stack = world.ledger().stack(SPOT)
        assert world.value in (9, *(c.value for c in stack))
    world.undo_all()
    assert world.value == 9
    assert world.ledger().live() == []


@given(st.permutations([1, 2, 3]))
def test_three_overlapping_changes_are_undone_in_any_order(order: list[int]) -> None:
    world = World()
    for new in (1, 3, 0):
        world.apply(new)
    in_force = {1: 1, 2: 3, 3: 0}
    for id in order:
        world.undo(id)
        del in_force[id]
        assert world.value == (in_force[max(in_force)] if in_force else 5)


def test_a_foreign_value_is_left_alone_and_becomes_the_way_back() -> None:
    world = World()
    world.apply(1)
    world.value = 4
    world.undo(1)
    assert (world.value, world.ledger().changes[1].state) == (4, "left")
    world.apply(2)
    world.value = 3
    world.apply(1)
    assert [c.state for c in world.ledger().changes.values()] == ["left", "left", "done"]
    world.undo_all()
    assert world.value == 3


def test_another_namespace_with_the_same_inode_is_another() -> None:
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1)))
    ledger.add(Began(2, 0.0, {}, OTHER, KEY, 5, 2))
    assert [c.id for c in ledger.stack(Spot(OTHER, KEY))] == [2]
    assert ledger.changes[2].original == 5


def test_another_socket_at_the_same_address_is_another() -> None:
    again = ListeningSocket(2, "0.0.0.0", 8080, 77, 100)
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, "listener.backlog", 4, 8, listener=LISTENER)))
    ledger.add(Began(2, 0.0, {}, PLACE, "listener.backlog", 2, 8, listener=again))
    assert [c.original for c in ledger.changes.values()] == [4, 2]
    assert ledger.stack(Spot(PLACE, "listener.retries", LISTENER)) == []


def test_a_line_of_a_file_is_one_whatever_the_boot_and_the_namespace() -> None:
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, KEY, None, 1, file=FILE)))
    elsewhere = Place("later", 1, None, "/proc/self/ns/net", "self")
    ledger.add(Began(2, 0.0, {}, elsewhere, KEY, 1, 2, file=FILE))
    assert ledger.changes[2].original is None
    assert [c.spot.lasting for c in ledger.changes.values()] == [True, True]
    # The setting itself is another spot.
    assert ledger.stack(SPOT) == []


# As written before a change said what kind of place it is written to.
FIRST_FORMAT = b"""\
{"event":"begun","id":1,"time_s":1795410771.67,"who":{"uid":0,"pid":9,"command":["halfopen","tune"]},"place":{"boot_id":\
"boot","inode":4026531840,"cookie":1,"path":"/run/netns/web","name":"web"},"key":"net.ipv4.tcp_synack_retries","old":5,\
"new":2,"until_s":1795410775.674}
{"event":"then","id":1,"time_s":1795410771.747,"state":"done","value":2,"why":""}
{"event":"begun","id":2,"time_s":1795410772.0,"who":{"uid":0},"place":{"boot_id":"boot","inode":4026531840,"cookie":null,\
"path":"/run/netns/web","name":"web"},"key":"net.core.somaxconn","old":4096,"new":128,"until_s":null}
{"event":"then","id":2,"time_s":1795410773.0,"state":"undoing","value":null,"why":""}
"""


def test_a_journal_of_the_first_format_is_read() -> None:
    ledger = replay(FIRST_FORMAT.replace(b'"undoing"', b'"refused"'))
    first, second = ledger.changes.values()
    assert (first.spot, first.original, first.value, first.state) == (SPOT, 5, 2, "done")
    assert first.began.until_s == 1795410775.674
    assert (second.spot.place.cookie, second.state) == (None, "refused")
    assert undo_step(ledger, first, 2).value == 5
    # And goes on.
    ledger.add(Began(3, 0.0, {}, PLACE, KEY, 2, 1))
    assert ledger.changes[3].original == 5


def test_a_clamped_value_counts_as_the_kernel_has_it() -> None:
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, KEY, 5, 300)))
    ledger.add(Then(1, 0.0, "done", 255))
    assert ledger.changes[1].value == 255
    step = undo_step(ledger, ledger.changes[1], 255)
    assert (step.writes, step.value) == (True, 5)


def at(wall_s: float, boot_s: float = 0.0, boot_id: str = "boot") -> Clocks:
    return Clocks(wall_s, boot_id, boot_s)


def test_overdue_is_what_is_live_and_past_its_time() -> None:
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1, until_s=10.0)))
    assert [c.id for c in ledger.overdue(at(10.0))] == [1]
    assert ledger.overdue(at(9.0)) == []
    ledger.add(Then(1, 0.0, "refused"))
    assert ledger.overdue(at(11.0)) == []


def test_the_wall_clock_set_back_prolongs_nothing() -> None:
    ledger = replay(encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1, until_s=1000.0, until_boot_s=60.0)))
    began = ledger.changes[1].began
    assert at(990.0, 30.0).left_s(began) == 10.0
    assert at(10.0, 59.0).left_s(began) == 1.0
    assert [c.id for c in ledger.overdue(at(10.0, 60.0))] == [1]
    # The clock of another boot says nothing.
    assert ledger.overdue(at(10.0, 60.0, "another")) == []
    ledger.add(Then(1, 0.0, "done", 1))
    ledger.add(Then(1, 0.0, "done", 1, place=Place("another", 9, 1, "/x", "x")))
    assert ledger.overdue(at(10.0, 60.0, "another")) == []
    assert [c.id for c in ledger.overdue(at(1000.0, 0.0, "another"))] == [1]


def test_a_torn_last_line_is_passed_over() -> None:
    whole = encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1))
    for cut in range(1, len(whole)):
        assert replay(whole + encode(Then(1, 0.0, "done"))[:cut][:-1]).changes[1].state == "begun"
    assert whole_lines(whole + b"{") == len(whole)
    assert whole_lines(b"{") == 0


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"\xff",
        b"",
        msgspec.json.encode(Then(2, 0.0, "done")),
        msgspec.json.encode(Then(1, 0.0, "undone")),
        msgspec.json.encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1)),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, "kernel.panic", 5, 1)),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, "net.ipv4/../x", 5, 1)),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, "listener.linger", 5, 1, listener=LISTENER)),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, KEY, 5, 1)).replace(b'"old":5', b'"old":null'),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, KEY, 5, 1)).replace(KEY.encode(), b"listener.backlog"),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, KEY, 5, 1)).replace(b'"old"', b'"odd"'),
        msgspec.json.encode(Began(2, 0.0, {}, PLACE, KEY, 5, 1))[:-1] + b',"more":1}',
    ],
)
def test_anything_else_is_an_error_that_names_the_line(line: bytes) -> None:
    good = encode(Began(1, 0.0, {}, PLACE, KEY, 5, 1))
    with pytest.raises(JournalError, match="line 2"):
        replay(good + line + b"\n")


def test_a_record_is_bounded() -> None:
    with pytest.raises(JournalError):
        encode(Began(1, 0.0, {"command": "x" * MAX_LINE}, PLACE, KEY, 5, 1))


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    try:
        replay(data)
    except JournalError:
        pass


def test_every_state_is_reached_or_final() -> None:
    reached = {state for states in FOLLOWS.values() for state in states} | {"begun"}
    assert reached == set(FOLLOWS)
