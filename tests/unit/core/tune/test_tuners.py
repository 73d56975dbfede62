"""What tuned's profiles and bpftune make of a setting, in a line each, and only where they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.tune import tuners
from halfopen.core.tune.tuners import Line, Profile, RunningTuned

SOMAXCONN, COOKIES = "net.core.somaxconn", "net.ipv4.tcp_syncookies"
# As /usr/lib/tuned/network-throughput and throughput-performance have it (tuned 2.20).
TEXT = b"""
[main]
summary=one
include=throughput-performance, -other
[vm]
dirty_ratio = 40
[sysctl]
# larger
net.core.somaxconn=>2048
net/ipv4/tcp_syncookies = 2
[sysctl.more]
net.ipv4.tcp_synack_retries=3
[mine]
type=sysctl
net.ipv4.tcp_fin_timeout = 30
"""


def test_a_profile() -> None:
    found = tuners.profile("/p", TEXT)
    assert found.includes == ["throughput-performance", "-other"]
    assert found.settings == {
        SOMAXCONN: Line("/p", 9, ">2048"),
        COOKIES: Line("/p", 10, "2"),
        "net.ipv4.tcp_synack_retries": Line("/p", 12, "3"),
        "net.ipv4.tcp_fin_timeout": Line("/p", 15, "30"),
    }


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    assert isinstance(tuners.profile("/p", data), Profile)
    assert tuners.flag(data, "reapply_sysctl", True) in (True, False)


def test_a_switch() -> None:
    for text, value in ((b"", True), (b"# x\nreapply_sysctl = 0\n", False), (b"reapply_sysctl=True", True)):
        assert tuners.flag(text, "reapply_sysctl", True) is value


def test_tuned_is_named_where_its_profile_sets_the_key() -> None:
    tuned = RunningTuned("fast", {SOMAXCONN: Line("/p", 9, ">2048")}, reapplies=True)
    assert tuners.notes([COOKIES], tuned, False, persist=True) == []
    [line] = tuners.notes([SOMAXCONN], tuned, False, persist=True)
    assert line == (
        "tuned is running with profile fast, which sets somaxconn to 2048 at least (/p:9); it applies sysctl.d"
        " afterwards, so the entry takes effect"
    )
    [line] = tuners.notes([SOMAXCONN], tuned, False, persist=False)
    assert line.endswith("it does so when it starts and when its profile is selected")
    [line] = tuners.notes([SOMAXCONN], RunningTuned("fast", tuned.settings, reapplies=False), False, persist=True)
    assert line.endswith("; it does so when it starts, after the entry was applied")
    [line] = tuners.notes([COOKIES], RunningTuned("fast", {}, True, "gone"), False, persist=False)
    assert line == "tuned is running with profile fast; its settings could not be read: gone"


def test_bpftune_is_named_for_what_it_sets() -> None:
    assert tuners.notes([SOMAXCONN], None, True, persist=True) == []
    [line] = tuners.notes([COOKIES], None, True, persist=False)
    assert line.startswith("bpftune is running, which changes tcp_syncookies under a flood")
    assert line.endswith("until bpftune is restarted")
    [line] = tuners.notes([COOKIES], None, True, persist=True)
    assert line.endswith("and then it may overwrite the value despite the sysctl.d entry")
