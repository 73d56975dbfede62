"""Opening sockets: what the kernel lacks is told apart from what there is too little of just now."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import numpy as np
import pytest

from halfopen.change import destroy, nft_door
from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Unsupported
from halfopen.core.sample import REQUEST
from halfopen.linux.sockets import open_sock_diag


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.EMFILE, KernelError, "raise the limit (ulimit -n)"),
        (errno.ENFILE, KernelError, "fs.file-max"),
        (errno.ENOBUFS, KernelError, "free some memory"),
        (errno.EPROTONOSUPPORT, Unsupported, "Protocol not supported"),
        (errno.EPERM, NotPermitted, "seccomp"),
    ],
)
def test_why_no_socket_could_be_opened(
    code: int, kind: type[HalfopenError], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket, "socket", refused)
    for opening in (open_sock_diag, lambda: nft_door.NftDoor().held(np.empty(0, dtype=REQUEST)).__enter__()):
        with pytest.raises(kind) as error:
            opening()
        assert says in error.value.line()


def test_a_probe_without_an_answer_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def send(self, data: bytes) -> int:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    full: Any = Full()
    monkeypatch.setattr(destroy, "has_net_admin", lambda: True)
    with pytest.raises(KernelError, match="SOCK_DESTROY failed: ENOBUFS"):
        destroy.probe(full)
