"""Whether the kernel caps the wait between SYN-ACKs, and by how much for each listener.

Since commit 1e9d3005e02c ("tcp: Apply max RTO to non-TFO SYN+ACK") (in v6.19), a request waits min(timeout << n,
icsk_rto_max of its listener), set by TCP_RTO_MAX_MS or net.ipv4.tcp_rto_max_ms.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.linux.bpf import loader
from halfopen.read import owners
from halfopen.read.listener_options import duplicate

# include/uapi/linux/tcp.h, since v6.15.
TCP_RTO_MAX_MS: Final = 44
# The patch series of that commit removed this member. Version numbers would not tell what distributions backported.
_STRUCT, _GONE = "request_sock_ops", "syn_ack_timeout"


def capped() -> bool | None:
    """Whether this kernel caps the wait; None: its BTF does not tell."""
    try:
        members = loader.of_kernel(_STRUCT)
    except HalfopenError:
        return None
    return None if members is None else _GONE not in members


def longest_waits_s(inodes: Iterable[int]) -> dict[int, float]:
    """The cap of these listeners, s, by inode; without those whose socket cannot be duplicated (`pidfd_getfd`)."""
    found: dict[int, float] = {}
    for inode, held in owners.holders(inodes).by_inode.items():
        for pid, descriptor in held:
            try:
                with duplicate(pid, descriptor) as s:
                    if os.fstat(s.fileno()).st_ino == inode:  # the number of the descriptor may have been reused
                        found[inode] = s.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS) / 1000
                        break
            except OSError as e:
                if e.errno == errno.ENOPROTOOPT:
                    return {}
    return found
