"""`tune listener`: changed while it runs, the kernel behaves so; undone, all is as found.

docs/settings.md names these tests. Refusals and what goes away meanwhile: test_tune_listener_refused.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

import tuning
from halfopen.core.errors import NotPermitted
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.tune import listener as tune_listener
from halfopen.ops.tune import tune
from halfopen.read import procfs
from halfopen.read.bpf import programs
from peers import until
from run import document, halfopen
from servers import contained, serving, words

if TYPE_CHECKING:
    from halfopen.lab import Lab


def server(lab: Lab) -> Netns:
    return resolve(lab.server.netns_path)


def listener(lab: Lab, *more: str) -> Any:
    """The document of a `tune listener` command that succeeds."""
    return document("tune", "listener", *more, "--netns", lab.server.netns_path, "--json")


def change(lab: Lab, port: int, **wishes: int) -> tuple[Any, ...]:
    """Change it, through the journal; what became of each socket."""
    return tuning.change(server(lab), port, tune_listener.Wishes(**wishes)).applied


def undo() -> None:
    """Undo all there is; all of it must be undone."""
    assert {u.state for u in tuning.undo().undone} == {"undone"}


def backlogs(lab: Lab) -> list[int]:
    """The accept queue caps of all listeners, as `ss` says."""
    lines = lab.server.exec(["ss", "-Hltn"], check=True).stdout.splitlines()
    return [int(line.split()[2]) for line in lines]


def counters(lab: Lab) -> dict[str, int]:
    return lab.server.run(procfs.counters)


# --- the kernel behaves so --------------------------------------------------------------------------------------------


def test_a_shorter_release_time_on_one_listener_alone(lab: Lab) -> None:
    short, long = lab.server.listen(8080), lab.server.listen(8081)
    done = listener(lab, ":8080", "--release-time", "3s", "--yes")
    assert words(done, "key", "from", "to", "state") == [("listener.retries", None, 1, "done")]
    lab.client.half_open(long, 1)
    sent = lab.client.half_open(short, 1)
    lab.settle(2)
    until(lambda: lab.server.half_open(8080) == 0)
    assert 2.9 < time.monotonic() - float(sent.sent_at_s[0]) < 6.9
    assert lab.server.half_open(8081) == 1
    undo()
    # Past its second retransmission at 3 s: it is as before.
    lab.client.half_open(short, 1)
    until(lambda: lab.server.requests(8080)["retransmits"].tolist() == [2])


def test_the_syn_queue_holds_what_was_promised(lab: Lab) -> None:
    web = lab.server.listen(backlog=4)
    lab.client.half_open(web, 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= 15)
    assert lab.server.half_open() <= 5
    change(lab, 8080, backlog=128)
    assert backlogs(lab) == [128]
    lab.client.half_open(web, 50)
    until(lambda: lab.server.half_open() >= 50)
    undo()
    assert backlogs(lab) == [4]
    sent = counters(lab)["SyncookiesSent"]
    lab.client.half_open(web, 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= sent + 20)


def test_the_accept_queue_holds_what_was_promised(lab: Lab) -> None:
    stuck = lab.server.listen(mode="never", backlog=4)

    def waiting() -> int:
        return listener(lab, ":8080")["listeners"][0]["accept_queue"]

    first = lab.client.connect(stuck, 5, timeout=1.0)
    until(lambda: waiting() == 5)
    change(lab, 8080, backlog=16)
    more = lab.client.connect(stuck, 12, timeout=1.0)
    until(lambda: waiting() == 17)
    undo()
    assert (backlogs(lab), waiting()) == ([4], 17)
    first.close()
    more.close()


def test_deferred_accept_on_and_off(lab: Lab) -> None:
    web = lab.server.listen()
    [done] = change(lab, 8080, defer_accept_s=25)
    assert (done.value, done.why) == (31, "the kernel rounds 25 s up to 31 s")
    deferred = lab.client.connect(web, 5)
    lab.settle(5)
    undo()
    at_once = lab.client.connect(web, 5)
    until(lambda: web.accepted == 5)
    assert lab.server.half_open() == 5
    at_once.close()
    deferred.close()
    # And off, where the program has it on.
    eager = lab.server.listen(8081, defer_accept_s=30)
    change(lab, 8081, defer_accept_s=0)
    clients = lab.client.connect(eager, 5)
    until(lambda: eager.accepted == 5)
    undo()
    assert listener(lab, ":8081")["listeners"][0]["defer_accept_s"] == 31
    clients.close()


# --- every kind of listener -------------------------------------------------------------------------------------------

OPTIONS = ("--backlog", "64", "--retries", "1", "--defer-accept", "1s", "--yes")


def facts(lab: Lab, where: str) -> list[tuple[Any, ...]]:
    names = ("backlog", "retries", "defer_accept_s", "release_time_s")
    return [tuple(one[name] for name in names) for one in listener(lab, where)["listeners"]]


@pytest.mark.parametrize("kind", ["v4", "v6", "any6"])
def test_every_family(lab: Lab, kind: str) -> None:
    address = {"v4": lab.server.v4, "v6": lab.server.v6, "any6": "::"}[kind]
    where = f"[{address}]:8080" if ":" in address else f"{address}:8080"
    web = lab.server.listen(8080, address=address, backlog=16)
    lab.server.listen(8081, address=address, backlog=16)
    listener(lab, where, *OPTIONS)
    assert facts(lab, where) == [(64, 1, 1, 3.0)]
    assert facts(lab, ":8081") == [(16, None, 0, 63.0)]
    families = (4, 6) if kind == "any6" else (4 if kind == "v4" else 6,)
    for family in families:
        lab.client.half_open(web, 1, family=family)
    lab.settle(len(families))
    until(lambda: lab.server.half_open() == 0, timeout=20)
    undo()
    assert facts(lab, where) == [(16, 5, 0, 63.0)]


def test_a_v4_mapped_listener_goes_by_its_ipv4_address(lab: Lab) -> None:
    with serving(lab, address=f"::ffff:{lab.server.v4}"):
        listener(lab, f"{lab.server.v4}:8080", "--backlog", "64", "--yes")
        assert backlogs(lab) == [64]
        undo()
        assert backlogs(lab) == [16]


def test_a_group_of_processes_is_changed_as_one(lab: Lab) -> None:
    with serving(lab, 4) as servers:
        done = listener(lab, ":8080", *OPTIONS)
        assert len(done["changes"]) == 12
        assert {s["processes"][0]["pid"] for s in done["listeners"]} == {s.pid for s in servers}
        assert facts(lab, ":8080") == [(64, 1, 1, 3.0)] * 4
        shown = halfopen("tune", "log").stdout
        assert "1-4 " in shown
        assert "4 sockets" in shown
        undo()
        assert facts(lab, ":8080") == [(16, 5, 0, 63.0)] * 4


def test_a_socket_that_two_processes_share_is_one_and_outlives_the_first(lab: Lab) -> None:
    with serving(lab, fork=True) as [one]:
        done = listener(lab, ":8080", "--backlog", "64", "--retries", "2", "--yes")
        assert len(done["changes"]) == 2
        assert {p["pid"] for p in done["listeners"][0]["processes"]} == {one.pid, one.told["child"]}
        one.kill()
        undo()
        assert facts(lab, ":8080") == [(16, 5, 0, 63.0)]
        [found] = listener(lab, ":8080")["listeners"]
        assert [p["pid"] for p in found["processes"]] == [one.told["child"]]
    until(lambda: not os.path.exists(f"/proc/{one.told['child']}"))


@pytest.mark.root
def test_a_container(lab: Lab) -> None:
    """Another user, pid, mount and network namespace."""
    with contained() as pid:
        where = ("--netns", f"pid:{pid}")
        done = document("tune", "listener", ":8080", *OPTIONS, *where, "--json")
        assert {c["state"] for c in done["changes"]} == {"done"}
        names = ("backlog", "retries", "defer_accept_s")
        [one] = document("tune", "listener", ":8080", *where, "--json")["listeners"]
        assert [one[name] for name in names] == [64, 1, 1]
        undo()
        [one] = document("tune", "listener", ":8080", *where, "--json")["listeners"]
        assert [one[name] for name in names] == [16, 5, 0]


def test_multipath_tcp(lab: Lab) -> None:
    """The socket that listens is inside another one, with the same inode."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError as e:
        pytest.skip(f"no Multipath TCP: {e}")
    with serving(lab, protocol=262):
        done = listener(lab, ":8080", "--backlog", "64", "--defer-accept", "7s", "--yes")
        assert done["listeners"][0]["mptcp"] is True
        assert words(done, "from", "to", "state") == [(16, 64, "done"), (0, 7, "done")]
        assert backlogs(lab) == [64]
        refused = halfopen("tune", "listener", ":8080", "--retries", "2", "--yes", "--netns", lab.server.netns_path)
        assert refused.returncode == 2
        assert "takes no TCP_SYNCNT" in refused.stderr
        undo()
        assert backlogs(lab) == [16]


# --- TCP_SYNCNT, which cannot be unset --------------------------------------------------------------------------------


def test_the_kernel_does_not_unset_tcp_syncnt() -> None:
    with socket.socket() as s:
        for value in (0, -1, 128, 256):
            with pytest.raises(OSError, match="Invalid argument"):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, value)


def retries(lab: Lab, port: int = 8080) -> list[int | None]:
    return [one["retries"] for one in listener(lab, f":{port}")["listeners"]]


def synack(lab: Lab, value: int) -> None:
    tuning.apply([WantedSetting(keys.SYNACK, value, "test")], server(lab))


def test_what_stands_for_unset_follows_tcp_synack_retries(lab: Lab) -> None:
    lab.server.listen()
    change(lab, 8080, retries=1)
    synack(lab, 2)
    [one] = tuning.undo([1]).undone
    assert (one.state, one.value) == ("undone", 2)
    assert "TCP_SYNCNT cannot be unset: 2 stands in for it, and follows tcp_synack_retries" in one.why
    assert tuning.undo().undone[0].state == "undone"
    assert retries(lab) == [5]
    # Set by others: the next command sees to it.
    lab.server.set_sysctl(keys.SYNACK, 3)
    tuning.apply([], server(lab))
    assert retries(lab) == [3]
    # Set anew and undone anew: it is still nothing that it goes back to.
    [done] = change(lab, 8080, retries=4)
    assert done.old is None
    lab.server.set_sysctl(keys.SYNACK, 0)
    undo()
    assert retries(lab) == [1]  # the nearest that TCP_SYNCNT can be


def test_what_the_program_sets_after_an_undo_stays(lab: Lab) -> None:
    web = lab.server.listen()
    change(lab, 8080, retries=1)
    undo()
    web.sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 4)
    synack(lab, 2)
    undo()
    assert retries(lab) == [4]


@pytest.mark.root
def test_a_number_of_the_programs_own_comes_back(lab: Lab) -> None:
    lab.server.listen(retries=6)  # what tcp_syn_retries has: only eBPF tells it from unset
    assert retries(lab) == [6]
    change(lab, 8080, retries=1)
    undo()
    assert retries(lab) == [6]


def test_without_ebpf(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise NotPermitted("no")

    monkeypatch.setattr(programs, "pulse", refused)
    lab.server.listen()
    for value in (1, 6):
        [done] = change(lab, 8080, retries=value)
        assert (done.old, done.value, done.state) == (None, value, "done")
        undo()
        assert retries(lab) == [5]


def test_an_override_is_named_where_it_matters(lab: Lab) -> None:
    lab.server.listen(8080)
    lab.server.listen(8081, retries=1)
    where = ("--netns", lab.server.netns_path)
    done = halfopen("tune", "apply", "--release-time", "7s", "--yes", *where).stdout
    assert "Not on :8081, whose own TCP_SYNCNT = 1 overrides it" in done
    assert f"Also  halfopen tune listener :8081 --retries 2 --netns {lab.server.netns_path}" in done
    assert ":8080" not in done
    assert "TCP_SYNCNT 1 overrides tcp_synack_retries" in halfopen("tune", "show", *where).stdout
    undo()
    change(lab, 8080, retries=4)
    shown = halfopen("release-time", *where).stdout
    assert "31 s on :8080: its own TCP_SYNCNT = 4 overrides it" in shown
    assert f"Also  halfopen tune listener :8080 --release-time 7s --netns {lab.server.netns_path}" in shown


# --- what the command says --------------------------------------------------------------------------------------------


def test_it_shows_the_listener_and_what_would_help(lab: Lab) -> None:
    lab.server.listen(backlog=16)
    where = ("--netns", lab.server.netns_path)
    first, *_, last = halfopen("tune", "listener", ":8080", *where).stdout.splitlines()
    assert first.endswith(": half-open connections are released after 63 s")
    assert last == f"Next  halfopen tune listener :8080 --backlog 4096 --release-time 7s {' '.join(where)}"
    planned = halfopen(*last.split()[2:], "--dry-run").stdout
    assert "16 → 4096" in planned
    assert "not set → 2" in planned
    assert facts(lab, ":8080") == [(16, None, 0, 63.0)]
    done = halfopen(*last.split()[2:], "--yes").stdout
    assert done.splitlines()[-1] == "Undo  halfopen tune undo 1 2"
    assert "every value is set already" in halfopen(*last.split()[2:], "--yes").stdout
    assert re.search(r":8080 backlog +16 → 4096", halfopen("tune", "log").stdout)
    undo()


def test_status_ends_with_it_when_a_queue_is_full(lab: Lab) -> None:
    web = lab.server.listen(backlog=60)
    lab.client.half_open(web, 70)
    lab.server.set_sysctl(keys.SOMAXCONN, 128)
    until(lambda: lab.server.half_open() >= 60)
    found = document("status", "--netns", lab.server.netns_path, "--json")["verdict"]["next"]
    here = f"--netns {lab.server.netns_path}"
    wanted = f"halfopen tune apply {here} --set somaxconn=4096 && halfopen tune listener :8080 --backlog 4096 {here}"
    assert wanted in found
    for words_ in wanted.split(" && "):
        assert halfopen(*words_.split()[1:], "--yes").returncode == 0
    assert backlogs(lab) == [4096]
    undo()
    assert backlogs(lab) == [60]


def test_it_returns_by_itself(lab: Lab) -> None:
    with serving(lab):
        done = listener(lab, ":8080", "--backlog", "64", "--retries", "1", "--yes", "--for", "1s")
        assert done["returns_by"] == "child"
        until(lambda: facts(lab, ":8080") == [(16, 5, 0, 63.0)])
        until(lambda: [c.state for c, _ in tune.log()[1]] == ["undone", "undone"])


def test_killed_before_the_write_it_returns_as_well(lab: Lab) -> None:
    with serving(lab):
        command = ("tune", "listener", ":8080", "--backlog", "64", "--yes", "--for", "1s")
        done = halfopen(*command, "--netns", lab.server.netns_path, dies_at="apply.written")
        assert done.returncode == -signal.SIGKILL
        assert backlogs(lab) == [64]
        until(lambda: backlogs(lab) == [16])
        until(lambda: [c.state for c, _ in tune.log()[1]] == ["undone"])
    assert json.loads(halfopen("tune", "log", "--json").stdout)["changes"][0]["listener"]["port"] == 8080
