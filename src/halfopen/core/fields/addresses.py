"""Addresses of many connections as text, and the fields that show them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6
from halfopen.core.fields.field import Field, Kind
from halfopen.core.units import address_text

T = TypeVar("T")

_IPV4_WIDTH: Final = 15
_IPV6_WIDTH: Final = 39


def address_texts(v4: NDArray[Any], wide: Iterable[tuple[int, bytes]]) -> list[str]:
    """N addresses as text, from IPv4 ones as numbers (N,), and pairs of a place and the 16 bytes that stand there."""
    # A million addresses are written here: IPv4 ones without a function call for each.
    octets = v4.astype(">u4").view(np.uint8).reshape(-1, 4).T.tolist()
    texts = ["%d.%d.%d.%d" % four for four in zip(*octets, strict=True)]  # noqa: UP031
    for at, address in wide:
        texts[at] = address_text(AF_INET6, address)
    return texts


def address_field(name: str, help: str, get: Callable[[T], list[str]], title: str, spare: int = 0) -> Field[T]:
    """A column of addresses."""
    return Field(
        name,
        help,
        get,
        "string",
        kind=Kind.LABEL,
        title=title,
        most=_IPV4_WIDTH,
        most_ipv6=_IPV6_WIDTH,
        spare=spare,
    )
