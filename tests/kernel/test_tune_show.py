"""`tune show` on this kernel: what each setting does here at these other values, and what could not be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from halfopen.core.tune import keys
from run import document, halfopen, in_a_mount_namespace, one_line

if TYPE_CHECKING:
    from halfopen.lab import Lab


def shown(lab: Lab, *words: str) -> dict[str, Any]:
    return {
        s["key"]: s for s in document("tune", "show", "--json", "--netns", lab.server.netns_path, *words)["settings"]
    }


def test_what_one_setting_does_follows_from_the_others(lab: Lab) -> None:
    found = shown(lab)
    assert found[keys.SYNACK]["effect"].endswith("released after 63 s, sooner in a queue more than half full")
    assert found[keys.SYN_BACKLOG]["effect"] == "does nothing while tcp_syncookies = 1"
    lab.server.set_sysctls({keys.COOKIES: "0", keys.SYN_BACKLOG: "8", keys.SYNACK: "2"})
    found = shown(lab)
    assert found[keys.SYNACK]["effect"].endswith("released after 7 s")
    assert "with more than 6 half-open connections only proven peers get in" in found[keys.SYN_BACKLOG]["effect"]
    lab.server.set_sysctl(keys.COOKIES, 2)
    assert shown(lab)[keys.SYNACK]["effect"].endswith("with tcp_syncookies = 2 none is kept at all")


def test_linear_timeouts_count_for_connections_that_are_opened(lab: Lab) -> None:
    lab.server.set_sysctl(keys.SYN_RETRIES, 6)
    lab.server.set_sysctls({keys.SYN_LINEAR: "4"}, missing_ok=True)
    effect = shown(lab)[keys.SYN_RETRIES]["effect"]
    assert "given up after 2 min 11 s" in effect or "given up after 2 min 7 s" in effect


def test_whether_tcp_rto_max_ms_counts_is_measured_and_not_guessed(lab: Lab) -> None:
    if keys.RTO_MAX not in shown(lab):
        return  # before Linux 6.15 there is nothing to tell
    assert shown(lab)[keys.RTO_MAX]["idle"] is True
    lab.server.set_sysctl(keys.RTO_MAX, 1000)
    found = shown(lab)[keys.RTO_MAX]
    assert found["effect"].endswith("halfopen release-time --measure shows it")
    assert found["idle"] is False
    words = ("release-time", "--json", "--measure", "--retries", "1", "--netns", lab.server.netns_path)
    [schedule] = document(*words)["schedules"]
    # Without it 1 s and 2 s; with it 1 s and 1 s, on a kernel that lets it count.
    assert 2.9 < schedule["measured_s"] < 4.0 or 1.9 < schedule["measured_s"] < 2.6


@pytest.mark.root
def test_a_setting_that_cannot_be_read_is_said(lab: Lab) -> None:
    # Reading the start of a process's memory is an I/O error, for root too.
    enter = f"nsenter --net={lab.server.netns_path}"
    hide = f"{enter} mount --bind /proc/self/mem /proc/sys/net/ipv4/tcp_abort_on_overflow"
    blind = f"{enter} mount --bind /proc/self/mem /proc/sys/net/ipv4/tcp_synack_retries"
    where = ("--netns", lab.server.netns_path)
    done = in_a_mount_namespace(hide, "tune", "show", *where)
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.endswith("; worth changing before a flood: tcp_synack_retries; 1 could not be read")
    assert any(line.startswith("tcp_abort_on_overflow") and "could not be read: " in line for line in rest)
    found = json.loads(in_a_mount_namespace(hide, "tune", "show", "--json", *where).stdout)
    assert [u["key"] for u in found["unread"]] == [keys.ABORT]
    assert keys.ABORT not in {s["key"] for s in found["settings"]}
    # It keeps nothing else from being changed, and is not changed itself.
    done = in_a_mount_namespace(hide, "tune", "apply", "--yes", "--set", "tcp_syncookies=2", *where)
    assert done.returncode == 0, done.stderr
    done = in_a_mount_namespace(hide, "tune", "apply", "--yes", "--set", "tcp_abort_on_overflow=1", *where)
    assert done.returncode != 0
    assert done.stderr.startswith(f"halfopen: reading {keys.ABORT} ")
    done = in_a_mount_namespace(blind, "tune", "apply", "--yes", "--release-time", "7s", *where)
    assert one_line(done, 1).startswith(f"halfopen: reading {keys.SYNACK} failed")
    assert halfopen("tune", "undo", "--all").returncode == 0
