"""What the kernel refuses of the door by nf_tables is said with what it takes."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from halfopen.change import nft_door
from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Unsupported


class Refusing:
    """A netlink socket whose every batch is refused with one errno."""

    def __init__(self, code: int) -> None:
        self._code = code

    def send(self, data: bytes) -> int:
        raise OSError(self._code, "")


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.EINVAL, Unsupported, "Invalid argument; it needs Linux 5.12"),
        (errno.EOPNOTSUPP, Unsupported, "cannot hold the door: Operation not supported"),
        (errno.EPERM, NotPermitted, "run as root"),
        (errno.ENOBUFS, KernelError, "ENOBUFS"),
    ],
)
def test_a_refusal_says_what_it_takes(code: int, kind: type[HalfopenError], says: str) -> None:
    refusing: Any = Refusing(code)
    with pytest.raises(kind) as refused:
        nft_door._send(refusing, b"")
    assert says in refused.value.line()
