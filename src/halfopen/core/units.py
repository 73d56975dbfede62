"""Durations, counts, addresses and prefixes, between a person's words and numbers."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Any, Final

from halfopen.core.addresses import AF_INET6, V4_MAPPED
from halfopen.core.errors import UsageError

_UNIT_S: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"(\d{1,9}(?:\.\d{1,6})?)"
# Each unit once, the largest first.
_DURATION: Final = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in _UNIT_S), re.ASCII)
_SECONDS: Final = re.compile(_NUMBER, re.ASCII)

_OBEYED: Final = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def duration_s(text: str, *, what: str = "duration") -> float:
    """Seconds in a duration such as `10s`, `500ms`, `1m30s`, `2h`, or a bare number of seconds.

    Raises: UsageError, naming `what`.
    """
    word = text.strip()
    if _SECONDS.fullmatch(word):
        return float(word)
    match = _DURATION.fullmatch(word)
    if match is None or not word:
        raise UsageError(f"{what} {text!r} is not a duration", hint="write it as 10s, 500ms, 1m30s or 1h")
    parts = zip(match.groups(), _UNIT_S.values(), strict=True)
    return sum(float(number) * unit_s for number, unit_s in parts if number is not None)


def duration_words(seconds: float) -> str:
    """A duration as `duration_s` takes it, to the millisecond: `1m30s`, `500ms`, `0s`."""
    left_ms, words = round(seconds * 1000), ""
    for unit in ("d", "h", "m"):
        count, left_ms = divmod(left_ms, round(_UNIT_S[unit] * 1000))
        words += f"{count}{unit}" if count else ""
    if 0 < left_ms < 1000 and not words:
        return f"{left_ms}ms"
    return words + (f"{left_ms / 1000:g}s" if left_ms or not words else "")


def show_duration(seconds: float) -> str:
    """A duration a person reads at a glance: `0.4 s`, `7 s`, `2 min 7 s`, `3 h 5 min`."""
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def show_time(seconds: float) -> str:
    """A time of any size in three digits or so: `9 µs`, `0.14 ms`, `1.3 ms`, `120 ms`, `1.02 s`, `63 s`."""
    for limit, unit, scale, digits in (
        (0.0000995, "µs", 1e6, 0),
        (0.000995, "ms", 1000, 2),
        (0.00995, "ms", 1000, 1),
        (0.9995, "ms", 1000, 0),
        (9.995, "s", 1, 2),
        (99.5, "s", 1, 1),
    ):
        if seconds < limit:
            return f"{seconds * scale:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def show_age(seconds: float) -> str:
    """An age in a column: `3.2 s`, `120 s`."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def show_bytes(n: float) -> str:
    """A size in binary units: `320 B`, `1.5 KiB`, `305 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 10 else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def plural(n: int, noun: str, nouns: str | None = None) -> str:
    """`1 connection`, `2,304 connections`."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def printable(text: str) -> str:
    """The text with `?` for whatever a terminal would obey or break the line at: names that anybody may choose."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def address_text(family: int, raw: bytes) -> str:
    """The address in 16 raw bytes as inet_diag gives them (IPv4 in the first four); v4-mapped as plain IPv4.

    `family` is the socket's (2 or 10).
    """
    if family != AF_INET6:
        return ".".join(str(b) for b in raw[:4])
    if raw[:12] == V4_MAPPED:
        return ".".join(str(b) for b in raw[12:])
    return str(ipaddress.IPv6Address(raw))


def family_text(family: int) -> str:
    """`ipv4` or `ipv6`, of a socket's family (2 or 10)."""
    return "ipv6" if family == AF_INET6 else "ipv4"


def endpoint_text(address: str, port: int) -> str:
    """`192.0.2.1:443` or `[2001:db8::1]:443`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def listener_text(address: str, port: int) -> str:
    """`:8080`, or with the address where the listener is bound to one."""
    return f":{port}" if address in ("0.0.0.0", "::") else endpoint_text(address, port)


def netns_words(name: str) -> str:
    """The option that directs a command to this namespace: ` --netns web`; empty for one's own ("self")."""
    return "" if name == "self" else f" --netns {shell_word(name)}"


def file_words(file: str | None) -> str:
    """The option that directs a command to this history: ` --file /var/lib/x`; empty where none was given."""
    return f" --file {shell_word(file)}" if file else ""


def shell_word(text: str) -> str:
    """The text as one word of a shell; with bytes that a terminal would obey, in the `$'…'` of bash and zsh."""
    if text.isprintable():
        return shlex.quote(text)
    words = []
    for c in text:
        if c in "\\'":
            words.append(f"\\{c}")
        elif c.isprintable():
            words.append(c)
        else:
            words.append("".join(f"\\x{byte:02x}" for byte in c.encode("utf-8", "surrogateescape")))
    return f"$'{''.join(words)}'"


def text_only(value: Any) -> Any:
    """A value of dictionaries, lists and texts with every text such that UTF-8 can hold it: names come from anybody."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {text_only(key): text_only(inner) for key, inner in value.items()}
    return [text_only(inner) for inner in value] if isinstance(value, list | tuple) else value


def json_text(document: str) -> str:
    """A JSON document with what a terminal would obey, and what is no text, as the escapes JSON has for it.

    The JSON encoder escapes the first 32 only: not C1 (0x9b begins a sequence as ESC [ does), nor marks that turn the
    direction of writing.
    """
    return _OBEYED.sub(lambda c: f"\\u{ord(c[0]):04x}", document)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Endpoint = tuple[Address | None, int]
"""Listeners as a filter names them: an address, None for any, and a port."""


def _zone(what: str, text: str) -> UsageError:
    # ipaddress silently drops the zone; the rest would mean every device.
    return UsageError(f"{what} {text!r}: an address with a zone is not understood", hint="leave out what follows the %")


def prefix(text: str, *, what: str = "--source") -> Network:
    """The network in `198.51.100.0/24`, `2001:db8::/32` or a single address. Raises: UsageError."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise UsageError(
            f"{what} {text!r} is not an address or prefix", hint="write it as 198.51.100.0/24 or 2001:db8::/32"
        ) from None
    if "%" in text:
        raise _zone(what, text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def port_number(text: str, *, what: str = "port") -> int:
    """A port from 1 to 65535. Raises: UsageError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise UsageError(f"{what} {text!r} is not a port", hint="a port is a number from 1 to 65535")
    return int(text)


def endpoint(text: str, *, what: str = "--listener") -> Endpoint:
    """Address (None when left out) and port in `:443`, `443`, `192.0.2.1:443` or `[2001:db8::1]:443`.

    Raises: UsageError.
    """
    host, colon, port = text.strip().rpartition(":")
    number = port_number(port, what=f"{what} {text!r}: port" if colon else what)
    if not host or host == "*":
        return None, number
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise UsageError(
            f"{what} {text!r}: {bare!r} is not an address", hint="write it as [ADDR]:PORT or :PORT"
        ) from None
    if "%" in bare:
        raise _zone(what, text)
    if address.version == 6 and not host.startswith("["):
        raise UsageError(f"{what} {text!r}: an IPv6 address goes in brackets", hint=f"[{bare}]:{number}")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped, number
    return address, number


def endpoint_words(place: Endpoint) -> str:
    """What `endpoint` takes: `:443` or, with the address, `192.0.2.1:443`."""
    address, number = place
    return f":{number}" if address is None else endpoint_text(str(address), number)


def share(text: str, *, what: str = "share") -> float:
    """A share from 0 to 1 of a percentage: `25%` or `25`. Raises: UsageError."""
    number = text.strip().removesuffix("%")
    whole, _, part = number.partition(".")
    if not (whole.isascii() and whole.isdigit() and (part.isdigit() or not part)) or float(number) > 100:
        raise UsageError(f"{what} {text!r} is not a share", hint="give 0% to 100%, as in 25%")
    return float(number) / 100
