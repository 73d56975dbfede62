"""`tune listener`: sockets of one port are one or are told apart; what cannot be read says why."""

from __future__ import annotations

from msgspec.structs import replace
from rich.console import Console

from halfopen.core.errors import NotPermitted
from halfopen.core.policy.actions import ChangeListener
from halfopen.core.tune.listener import Running, Wishes
from halfopen.core.tune.outcomes import Applied, Tuned
from halfopen.core.tune.plan import found
from halfopen.core.tune.spots import ListeningSocket
from halfopen.present.tune import listeners
from tune_made import (
    LISTENER,
    group,
    lines,
    planned,
)


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


def test_a_listener_that_was_named_by_its_address_is_so_in_the_command_as_well(out: Console) -> None:
    """Without it the command would change the one on 0.0.0.0 too."""
    listeners.show(
        out, "self", [Running(ListeningSocket(10, "::", 443, 2, 2), 8, 0, None, 0)], 4096, 5, by_address=True
    )
    first, *_, last = lines(out)
    assert first.startswith("[::]:443: ")
    assert last == "Next  halfopen tune listener '[::]:443' --backlog 4096 --release-time 7s"


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
