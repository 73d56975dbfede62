"""Our file of sysctl.d is edited line by line and read strictly; of the others it is told which one would win."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import SysctlDError
from halfopen.core.tune import sysctl_d
from halfopen.core.tune.sysctl_d import Assignment, File, Override

A, B = "net.ipv4.tcp_synack_retries", "net.core.somaxconn"
OURS = f"/etc/sysctl.d/{sysctl_d.NAME}"
KEYS = st.sampled_from([A, B, "net.ipv4.tcp_syncookies", "net.netfilter.nf_conntrack_tcp_timeout_close"])
VALUES = st.integers(-1, 2**31)


def ours(**entries: int) -> bytes:
    data = None
    for key, value in entries.items():
        data = sysctl_d.edited(data, f"net.ipv4.{key}", value)
    assert data is not None
    return data


# --- our file ---------------------------------------------------------------------------------------------------------


def test_the_first_entry_makes_the_file_and_the_last_one_takes_it_away() -> None:
    data = sysctl_d.edited(None, A, 2)
    assert data is not None
    assert data.decode() == f"{sysctl_d.HEADER}{A} = 2\n"
    assert sysctl_d.entries(data) == {A: 2}
    assert sysctl_d.edited(data, A, None) is None
    assert sysctl_d.edited(None, A, None) is None
    assert sysctl_d.entries(None) == {}


@given(st.dictionaries(KEYS, VALUES), KEYS, VALUES)
def test_taking_back_gives_the_very_bytes_of_before(there: dict[str, int], key: str, value: int) -> None:
    before = None
    for other, was in there.items():
        before = sysctl_d.edited(before, other, was)
    after = sysctl_d.edited(before, key, value)
    assert after is not None
    assert sysctl_d.entries(after) == {**there, key: value}
    assert sysctl_d.edited(after, key, there.get(key)) == before


def test_what_an_older_header_said_is_kept() -> None:
    data = b"# Written by `halfopen tune` of another version\n# more\n#\n" + f"{A} = 2\n".encode()
    after = sysctl_d.edited(data, B, 4096)
    assert after == data + f"{B} = 4096\n".encode()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\n",
        b"# Somebody's own\nnet.ipv4.tcp_synack_retries = 2\n",
        ours(tcp_synack_retries=2)[:-1],
        ours(tcp_synack_retries=2) + b"# a note\n",
        ours(tcp_synack_retries=2) + b"\n",
        ours(tcp_synack_retries=2) + b"net.ipv4.tcp_synack_retries = 3\n",
        ours(tcp_synack_retries=2) + b"net.core.somaxconn=4096\n",
        ours(tcp_synack_retries=2) + b"net.core.somaxconn = 04096\n",
        ours(tcp_synack_retries=2) + b"net.core.somaxconn = 4096 \n",
        ours(tcp_synack_retries=2) + b"net.core.somaxconn = 4096\r\n",
        ours(tcp_synack_retries=2) + b"kernel.panic = 1\n",
        ours(tcp_synack_retries=2) + b"-net.core.somaxconn = 4096\n",
        ours(tcp_synack_retries=2) + "net.core.somaxconn = \uff14\n".encode(),
        ours(tcp_synack_retries=2) + b"net.core.somaxconn = " + b"9" * 5000 + b"\n",
    ],
)
def test_anything_that_we_did_not_write_is_refused(damage: bytes) -> None:
    with pytest.raises(SysctlDError):
        sysctl_d.entries(damage)
    with pytest.raises(SysctlDError):
        sysctl_d.edited(damage, A, 5)


@given(st.binary(max_size=200).map(lambda tail: sysctl_d.HEADER.encode() + tail))
def test_whatever_stands_in_it_is_an_entry_or_one_error(data: bytes) -> None:
    with suppress(SysctlDError):
        assert all(key.startswith("net.") for key in sysctl_d.entries(data))


# --- the others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("net.core.somaxconn=128", B, "128"),
        ("  net/core/somaxconn  =  128  ", B, "128"),
        ("-net.core.somaxconn = 128", B, "128"),
        ("/net/core/somaxconn = 128", B, "128"),
        ("net.ipv4.conf.eth0/100.rp_filter = 1", "net.ipv4.conf.eth0/100.rp_filter", "1"),
        ("net/ipv4/conf/eth0.100/rp_filter = 1", "net.ipv4.conf.eth0/100.rp_filter", "1"),
        ("kernel.core_pattern = |a=b # c", "kernel.core_pattern", "|a=b # c"),
        ("net.core.somaxconn =", B, ""),
    ],
)
def test_a_line_sets_a_key(line: str, key: str, value: str) -> None:
    assert sysctl_d.assignments(f"\n{line}\n".encode()) == [Assignment(2, key, value)]


def test_a_key_may_be_left_out() -> None:
    assert sysctl_d.assignments(b"-net.core.somaxconn\n") == [Assignment(1, B, None)]
    file = File("/etc/sysctl.d/99-z.conf", b"-net.core.somaxconn\n")
    assert sysctl_d.overrides([file], None, {B: 1}) == [Override(B, None, file.path, 1)]
    assert sysctl_d.overrides([], file, {B: 1}) == []


@pytest.mark.parametrize(
    "line", ["", "# net.core.somaxconn = 1", " ; net.core.somaxconn = 1", "net.core.*=1", "-net.core.*", "=1", "-"]
)
def test_a_comment_and_a_pattern_set_none(line: str) -> None:
    assert sysctl_d.assignments(line.encode()) == []


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    files = sysctl_d.in_order([File("/run/sysctl.d/99-\udcff.conf", data), File(OURS, data), File(OURS, b"")])
    assert len(files) == 2
    for o in sysctl_d.overrides(files, File(sysctl_d.LAST, data), {A: 1, B: 2}):
        assert o.key in (A, B)


def test_the_first_directory_masks_and_the_last_name_wins() -> None:
    found = [
        File("/etc/sysctl.d/70-a.conf", b""),
        File(OURS, ours(tcp_synack_retries=2)),
        File("/run/sysctl.d/65-b.conf", f"{A}=4\n".encode()),
        File("/usr/lib/sysctl.d/70-a.conf", f"{A}=6\n".encode()),
        File("/usr/lib/sysctl.d/50-c.conf", f"{A}=7\n{B}=7\n".encode()),
    ]
    files = sysctl_d.in_order(found)
    assert [f.path for f in files] == [found[4].path, OURS, found[2].path, found[0].path]
    assert sysctl_d.overrides(files, None, {A: 2, B: 4096}) == [Override(A, "4", "/run/sysctl.d/65-b.conf", 1)]
    assert sysctl_d.overrides(files, None, {A: 4}) == []


def test_etc_sysctl_conf_without_a_link_counts_only_for_procps() -> None:
    last = File(sysctl_d.LAST, f"#\n{A} = 5\n{B} = word\n".encode())
    boot = File("/etc/sysctl.d/99-z.conf", f"{A} = 6\n".encode())
    assert sysctl_d.overrides([boot], last, {A: 2, B: 1}) == [
        Override(A, "6", boot.path, 1),
        Override(A, "5", sysctl_d.LAST, 2, at_boot=False),
        Override(B, "word", sysctl_d.LAST, 3, at_boot=False),
    ]
