"""`tune`: applied, the kernel behaves so; undone, all is as found; the command says what it does.

docs/settings.md names these tests.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tuning
from halfopen.change import sysctl
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.read import procfs
from peers import until
from run import halfopen, in_a_mount_namespace, one_line
from tune_looks import command, server, set_, states, values

if TYPE_CHECKING:
    from halfopen.lab import Lab


def counters(lab: Lab) -> dict[str, int]:
    return lab.server.run(procfs.counters)


# --- applied, the kernel behaves so -----------------------------------------------------------------------------------


def test_every_setting_comes_back_as_found(lab: Lab) -> None:
    before = values(lab)
    assert len(before) >= 8
    wanted = [WantedSetting(k, v - 1 if v > 1 else v + 1, "test") for k, v in before.items()]
    result = tuning.apply(wanted, server(lab))
    assert {a.key: a.state for a in result.applied} == dict.fromkeys(before, "done")
    assert values(lab) == {w.key: w.value for w in wanted}
    assert {u.state for u in tuning.undo().undone} == {"undone"}
    assert values(lab) == before


def test_the_release_time_is_what_was_asked_for_whatever_the_false_cures_say(lab: Lab) -> None:
    """tcp_synack_retries decides; no other timeout or number of retries does: not tcp_rto_max_ms, not conntrack's."""
    false = {"tcp_fin_timeout": 1, "tcp_syn_retries": 1, "tcp_tw_reuse": 1, "tcp_keepalive_time": 1}
    for key, value in {**false, "tcp_retries2": 1, "tcp_max_tw_buckets": 1}.items():
        lab.server.set_sysctl(f"net.ipv4.{key}", value)
    lab.server.set_sysctls({keys.CONNTRACK + "syn_recv": "1", keys.RTO_MAX: "1000"}, missing_ok=True)
    before = values(lab)
    done = command("apply", "--netns", lab.server.netns_path, "--release-time", "3s", "--yes")
    assert [(c["key"], c["from"], c["to"], c["state"]) for c in done["changes"]] == [(keys.SYNACK, 5, 1, "done")]
    sent = lab.client.half_open(lab.server.listen(), 1)
    lab.settle(1)
    until(lambda: lab.server.half_open() == 0)
    assert 2.9 < time.monotonic() - float(sent.sent_at_s[0]) < 6.9
    assert command("undo", "--all")["changes"][0]["state"] == "undone"
    assert values(lab) == before


def test_cookies_off_drop_and_on_answer(lab: Lab) -> None:
    listener = lab.server.listen(backlog=4)
    set_(lab, tcp_syncookies=0)
    lab.client.half_open(listener, 20)
    until(lambda: counters(lab)["TCPReqQFullDrop"] > 0)
    assert counters(lab)["SyncookiesSent"] == 0
    set_(lab, tcp_syncookies=1)
    lab.client.half_open(listener, 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= 20)
    assert 4 <= lab.server.half_open() <= 5
    tuning.undo()


def test_cookies_always_keep_nothing(lab: Lab) -> None:
    set_(lab, tcp_syncookies=2)
    lab.client.half_open(lab.server.listen(), 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= 20)
    assert lab.server.half_open() == 0


def test_max_syn_backlog_counts_only_without_cookies(lab: Lab) -> None:
    listener = lab.server.listen(backlog=128)
    set_(lab, tcp_max_syn_backlog=8, tcp_syncookies=1)
    lab.client.half_open(listener, 60)
    lab.settle(60)
    set_(lab, tcp_syncookies=0)
    other = lab.server.listen(8081, backlog=128)
    lab.client.half_open(other, 60)
    until(lambda: counters(lab)["ListenDrops"] >= 53)
    assert lab.server.half_open(8081) == 7
    # What the goal promises, the kernel holds.
    command("apply", "--netns", lab.server.netns_path, "--half-open", "100", "--yes")
    third = lab.server.listen(8082, backlog=128)
    lab.client.half_open(third, 100)
    lab.server.wait_half_open(100, port=8082)


def test_somaxconn_clamps_a_listen(lab: Lab) -> None:
    set_(lab, somaxconn=16)
    lab.server.listen(backlog=128)
    shown = command("show", "--netns", lab.server.netns_path)
    assert [(s["port"], s["backlog"]) for s in shown["listeners"]] == [(8080, 16)]
    tuning.undo()
    lab.server.listen(8081, backlog=128)
    shown = command("show", "--netns", lab.server.netns_path)
    assert [(s["port"], s["backlog"]) for s in shown["listeners"]] == [(8080, 16), (8081, 128)]


@pytest.mark.parametrize("on", [0, 1])
def test_abort_on_overflow_resets_clients(lab: Lab, on: int) -> None:
    set_(lab, tcp_abort_on_overflow=on)
    listener = lab.server.listen(backlog=8, mode="never")
    before = counters(lab)["OutRsts"]
    slow = lab.client.slow(listener, 6, delay_s=60.0)
    lab.settle(6)
    lab.client.connect(listener, 9, timeout=0.3)
    slow.answer_at_once()
    # The accept queue is full when their ACKs come.
    until(lambda: counters(lab)["ListenOverflows"] >= 3)
    if on:
        until(lambda: counters(lab)["OutRsts"] > before)
    else:
        assert counters(lab)["OutRsts"] == before
    slow.stop()


def test_a_server_that_accepts_at_once_keeps_silent_clients_as_long(lab: Lab) -> None:
    """Half-open connections wait for the client: a program that does nothing has them no longer than one that works."""
    set_(lab, tcp_synack_retries=1)
    sent = [
        lab.client.half_open(lab.server.listen(8080), 1),
        lab.client.half_open(lab.server.listen(8081, mode="never"), 1),
    ]
    gone: dict[int, float] = {}

    def both_gone() -> bool:
        for port, one in zip((8080, 8081), sent, strict=True):
            if port not in gone and not lab.server.half_open(port):
                gone[port] = time.monotonic() - float(one.sent_at_s[0])
        return len(gone) == 2

    lab.settle(2)
    until(both_gone)
    assert all(2.9 < seconds < 6.9 for seconds in gone.values())
    # Only clients that do answer are kept half-open by it: their last ACK finds the accept queue full.
    full = lab.server.listen(8082, backlog=1, mode="never")
    lab.client.connect(full, 2)
    slow = lab.client.slow(full, 2, delay_s=0.3)
    until(lambda: counters(lab)["ListenOverflows"] > 0 or counters(lab)["TCPReqQFullDoCookies"] > 0)
    slow.stop()


def test_tcp_tw_recycle_is_gone_and_said_so(lab: Lab) -> None:
    shown = command("show", "--netns", lab.server.netns_path)
    assert {c["key"]: c["value"] for c in shown["no_cures"]}["net.ipv4.tcp_tw_recycle"] is None
    line = one_line(halfopen("tune", "apply", "--set", "tcp_tw_recycle=1", "--yes"), 2)
    assert "left the kernel in 4.12" in line


# --- what the command says --------------------------------------------------------------------------------------------


def test_show_names_what_helps_and_apply_does_it(lab: Lab) -> None:
    lab.server.set_sysctl(keys.COOKIES, 0)
    done = halfopen("tune", "show", "--netns", lab.server.netns_path, "--cookies", "on")
    first, *_, last = done.stdout.strip().splitlines()
    assert first.endswith("should change: tcp_syncookies")
    assert last == f"Next  halfopen tune apply --cookies on --netns {lab.server.netns_path}"
    words = last.split()[2:]
    done = halfopen(*words, "--yes")
    assert done.stdout.splitlines()[-1] == "Undo  halfopen tune undo 1"
    assert values(lab)[keys.COOKIES] == 1
    done = halfopen(*words, "--yes")
    assert "every value is set already" in done.stdout
    assert states() == ["done"]
    assert halfopen("tune", "undo", "1").stdout.startswith("1 change undone")
    assert halfopen("tune", "log").stdout.startswith("0 changes in force, 1 recorded in all")


def test_a_dry_run_and_no_answer_change_nothing(lab: Lab, state: Path) -> None:
    before = values(lab)
    where = ("--netns", lab.server.netns_path)
    assert "63 s" in halfopen("tune", "apply", "--dry-run", *where).stdout
    assert command("apply", "--dry-run", *where)["dry_run"] is True
    assert "--yes" in one_line(halfopen("tune", "apply", *where), 2)
    assert "undo needs an ID" in one_line(halfopen("tune", "undo"), 2)
    assert "no change 7" in one_line(halfopen("tune", "undo", "7"), 3)
    assert values(lab) == before
    assert states() == []


@pytest.mark.root
def test_a_value_that_the_kernel_refuses_is_left_as_it_is(lab: Lab) -> None:
    # A file that takes 0 to 2 stands where tcp_syn_retries is looked for.
    other = "/proc/sys/net/ipv4/tcp_tw_reuse /proc/sys/net/ipv4/tcp_syn_retries"
    setup = f"nsenter --net={lab.server.netns_path} mount --bind {other}"
    words = ("--set", "tcp_syn_retries=9", "--set", "tcp_synack_retries=2", "--netns", lab.server.netns_path)
    done = in_a_mount_namespace(setup, "tune", "apply", "--yes", *words)
    assert done.returncode == 1
    assert "1 setting changed" in done.stdout
    assert "1 refused" in done.stdout
    assert (values(lab)[keys.TW_REUSE], values(lab)[keys.SYNACK]) == (2, 2)
    assert states() == ["refused", "done"]


def test_a_value_that_the_kernel_clamps_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    write = sysctl.write
    monkeypatch.setattr(sysctl, "write", lambda key, value: write(key, min(value, 3)))
    [one] = tuning.apply([WantedSetting(keys.SYNACK, 9, "test")], server(lab)).applied
    assert (one.state, one.asked, one.value) == ("clamped", 9, 3)
    assert [u.state for u in tuning.undo().undone] == ["undone"]
    assert values(lab)[keys.SYNACK] == 3  # the write of the undo was clamped as well


def test_what_somebody_else_set_is_left_alone(lab: Lab) -> None:
    set_(lab, tcp_synack_retries=2)
    lab.server.set_sysctl(keys.SYNACK, 4)
    [row] = command("undo", "1")["changes"]
    assert (row["state"], row["why"]) == ("left", "somebody else set it to 4")
    assert values(lab)[keys.SYNACK] == 4
