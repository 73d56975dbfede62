from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core import units
from halfopen.core.errors import UsageError

QUICK = examples(300)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("500ms", 0.5),
        ("2m", 120),
        ("1.5h", 5400),
        ("1d", 86400),
        ("7", 7),
        ("0", 0),
        ("1m30s", 90),
        ("1h500ms", 3600.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1 s x", "1e3s", "10q", "٣s", "nan", "inf", "1.2.3s", "9" * 20, "30s1m", "1s1s", "1m 30s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        units.duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.42, "0.4 s"), (7, "7 s"), (63, "63 s"), (127, "2 min 7 s"), (7200, "2 h"), (11100, "3 h 5 min")],
)
def test_show_duration(seconds: float, shown: str) -> None:
    assert units.show_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        (":443", None, 443),
        ("443", None, 443),
        ("*:443", None, 443),
        ("192.0.2.1:443", "192.0.2.1", 443),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("[::]:443", "::", 443),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1", 443),
    ],
)
def test_endpoints(text: str, address: str | None, port: int) -> None:
    assert units.endpoint(text) == (ipaddress.ip_address(address) if address else None, port)


@pytest.mark.parametrize(
    "text", ["", ":", ":0", ":65536", ":http", "host:80", "2001:db8::1:443", "[::1]", "1.2.3:80", ":٣", ":-1", "[:80"]
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(UsageError):
        units.endpoint(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("198.51.100.7/24", "198.51.100.0/24"),
        ("198.51.100.7", "198.51.100.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_prefixes(text: str, network: str) -> None:
    assert units.prefix(text) == ipaddress.ip_network(network)


@QUICK
@given(st.text(max_size=30))
def test_any_text_is_taken_or_refused_in_one_line(text: str) -> None:
    for read in (units.duration_s, units.endpoint, units.prefix, units.port_number):
        error = refusal(read, text)
        assert error is None or error.exit_code == 2


def refusal(read: Callable[[str], object], text: str) -> UsageError | None:
    try:
        read(text)
    except UsageError as e:
        return e
    return None


@QUICK
@given(st.ip_addresses())
def test_addresses_are_shown_as_ipaddress_shows_them(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.version == 4:
        assert units.address_text(2, address.packed.ljust(16, b"\0")) == str(address)
        assert units.address_text(10, bytes(10) + b"\xff\xff" + address.packed) == str(address)
    elif address.ipv4_mapped is None:
        assert units.address_text(10, address.packed) == str(address)


def test_counts() -> None:
    assert units.plural(1, "connection") == "1 connection"
    assert units.plural(2304, "connection") == "2,304 connections"
    assert units.plural(2, "process", "processes") == "2 processes"
    assert (units.show_bytes(320), units.show_bytes(1536), units.show_bytes(2**30)) == ("320 B", "1.5 KiB", "1.0 GiB")


@pytest.mark.parametrize("name", [b"web", b"a b'c\\", b"\xff\xe9x", b"\x1b]0;t\x07\nOK", "é\x9b\u202e'\\".encode()])
def test_a_word_of_the_shell_is_printable_and_means_the_name(name: bytes) -> None:
    word = units.shell_word(os.fsdecode(name))
    assert word.isprintable()
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE, check=True).stdout == name


def test_json_holds_nothing_that_a_terminal_obeys() -> None:
    names = "é…\x7f\x9b\u202e\u2028\udcff"
    text = units.json_text(json.dumps(names, ensure_ascii=False))
    assert json.loads(text) == names
    assert text == '"é…\\u007f\\u009b\\u202e\\u2028\\udcff"'
