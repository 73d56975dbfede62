"""Texts of /proc about memory, as Linux 6.18 wrote them."""

from __future__ import annotations

from halfopen.wire.memory import meminfo, pressed, slabs, sockstat

SOCKSTAT = """sockets: used 16
TCP: inuse 1 orphan 7 tw 3 alloc 160 mem 261
UDP: inuse 0 mem 0
"""
PROTOCOLS = """protocol  size sockets  memory press maxhdr  slab module
PACKET    1600      0      -1   NI       0   no   kernel
TCPv6     2432      0     261   no     192   yes  kernel
TCP       2304      1     261   {}     192   yes  kernel
"""
SLABINFO = """slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>
tw_sock_TCP          339    432    256   16    1 : tunables    0    0    0 : slabdata     27     27      0
TCP                  171    182   2368   13    8 : tunables    0    0    0 : slabdata     14     14      0
kmalloc-8k            16     16   8192    4    8 : tunables    0    0    0 : slabdata      4      4      0
"""


def test_sockstat() -> None:
    assert sockstat(SOCKSTAT) == {"inuse": 1, "orphan": 7, "tw": 3, "alloc": 160, "mem": 261}
    assert sockstat("") == {}


def test_pressure() -> None:
    assert pressed(PROTOCOLS.format("no ")) is False
    assert pressed(PROTOCOLS.format("yes")) is True
    assert pressed("") is None


def test_slabs() -> None:
    found = slabs(SLABINFO, 4096)
    assert set(found) == {"tw_sock_TCP", "TCP"}
    assert (found["TCP"].objects, found["TCP"].object_bytes, found["TCP"].pages_bytes) == (171, 2368, 14 * 8 * 4096)


def test_meminfo() -> None:
    assert meminfo("MemTotal:  100 kB\nHugePages_Total:  0\nCached: 7 kB\n") == {"MemTotal": 102400, "Cached": 7168}
