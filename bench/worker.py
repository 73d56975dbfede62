"""A Python process inside the lab's namespace that reads or releases in process, and times each call itself.

`python worker.py NAME` reads a line for each call and answers with a JSON line: seconds, count, peak RSS. One process
for each reader, so that none pays for what another one left in memory.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from halfopen.read.bpf.census import Census

_NETLINK_SOCK_DIAG: Final = 4
_TCPDIAG_GETSOCK: Final = 18
_NLM_F_REQUEST_DUMP: Final = 0x301
_SYN_RECV: Final = 1 << 3
_BUFFER: Final = 32 * 1024
# With CAP_NET_ADMIN: nlmsghdr 16, inet_diag_msg 72, INET_DIAG_MARK 8; and NLMSG_DONE with its errno at the end.
_RECORD: Final = 96
_DONE: Final = 20

# What a call gives besides the time it took.
Result = dict[str, Any]
Call = Callable[[], Result]


def floor() -> Call:
    """The same dump as ours, read into one buffer and thrown away; the count is told from the number of bytes alone."""
    request = struct.pack("=IHHII", 76, _TCPDIAG_GETSOCK, _NLM_F_REQUEST_DUMP, 1, 0)
    request += struct.pack("=4x48xII", _SYN_RECV, 0)
    buffer = bytearray(_BUFFER)

    def call() -> Result:
        total = 0
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as s:
            receive = s.recv_into
            s.send(request)
            while True:
                n = receive(buffer)
                total += n
                # The last message of a dump is NLMSG_DONE (3); it comes alone or behind records.
                if n < _BUFFER - 1024 and struct.unpack_from("=IH", buffer, n - _DONE) == (_DONE, 3):
                    break
        whole, rest = divmod(total - _DONE, _RECORD)
        return {"count": whole if not rest else -1}

    return call


def snapshot() -> Call:
    """`halfopen.snapshot()` without rows: everything `status` shows, by listener and by /24."""
    return _snapshot("auto")


def snapshot_diag() -> Call:
    """The same by sock_diag alone."""
    return _snapshot("diag")


def _snapshot(source: str) -> Call:
    import halfopen

    def call() -> Result:
        model = halfopen.snapshot(rows=False, source=source)
        assert sum(v.half_open for v in model.listeners) == model.half_open
        return {"count": model.half_open, "distinct": model.distinct_sources}

    return call


def census() -> Call:
    """Every request socket by the eBPF walk, its records parsed, nothing kept."""
    from halfopen.read.bpf.walk import WalkCensus

    program = WalkCensus()

    def call() -> Result:
        return {"count": sum(len(part.rows) for part in program.read())}

    return call


def bytes_of_census() -> Call:
    """The same, thrown away unread: what the kernel takes for it."""
    from halfopen.read.bpf.walk import WalkCensus

    return _bytes_of(WalkCensus())


def bytes_of_iterator() -> Call:
    """The census as kernels before 6.2 allow it, by the kernel's iterator, thrown away unread."""
    from halfopen.read.bpf.census import IterCensus

    return _bytes_of(IterCensus())


def _bytes_of(program: Census) -> Call:
    from halfopen.wire.bpf_records import CENSUS_SHORT

    def call() -> Result:
        return {"count": program.drain() // CENSUS_SHORT.itemsize}

    return call


def release_table() -> Call:
    """`halfopen.release(all=True)` without eBPF, a table of nf_tables holding the door."""
    os.environ["HALFOPEN_REFUSE_BPF"] = "all"
    return release()


def release_narrow() -> Call:
    """The same without any door, through the narrow window."""
    os.environ["HALFOPEN_REFUSE_NFT"] = "1"
    return release_table()


def release() -> Call:
    """`halfopen.release(all=True)`, the audit log and its two fsyncs included."""
    import halfopen
    from halfopen.core.fields.released import released

    halfopen.release(all=True, dry_run=True)

    def call() -> Result:
        done = halfopen.release(all=True, reason="benchmark")
        return {"count": done.released, "record": released(done)}

    return call


def release_old() -> Call:
    """`halfopen.release(older_than=1)`."""
    import halfopen
    from halfopen.core.fields.released import released

    halfopen.release(all=True, dry_run=True)

    def call() -> Result:
        done = halfopen.release(older_than=1.0, reason="benchmark")
        return {"count": done.released, "record": released(done)}

    return call


def release_old_table() -> Call:
    """The same without eBPF, a table of nf_tables holding the door."""
    os.environ["HALFOPEN_REFUSE_BPF"] = "all"
    return release_old()


def release_old_narrow() -> Call:
    """The same without any door, through the narrow window."""
    os.environ["HALFOPEN_REFUSE_NFT"] = "1"
    return release_old_table()


def proc() -> Call:
    """/proc/net/tcp, its lines in state 03 counted."""

    def call() -> Result:
        with open("/proc/net/tcp", "rb") as f:
            next(f)
            return {"count": sum(line.split(None, 4)[3] == b"03" for line in f)}

    return call


def psutil() -> Call:
    """`psutil.net_connections(kind="tcp")`, those in SYN_RECV counted."""
    import psutil  # type: ignore[import-untyped,unused-ignore]

    def call() -> Result:
        return {"count": sum(c.status == psutil.CONN_SYN_RECV for c in psutil.net_connections(kind="tcp"))}

    return call


def pyroute2() -> Call:
    """`DiagSocket.get_sock_stats()` for IPv4 in SYN_RECV, which is what pyroute2's ss2 shows, counted."""
    from pyroute2 import DiagSocket  # type: ignore[import-untyped,unused-ignore]

    def call() -> Result:
        with DiagSocket() as s:
            s.bind()
            return {"count": len(s.get_sock_stats(family=socket.AF_INET, states=_SYN_RECV))}

    return call


CALLS: Final[dict[str, Callable[[], Call]]] = {
    f.__name__: f
    for f in (
        floor,
        snapshot,
        snapshot_diag,
        census,
        bytes_of_census,
        bytes_of_iterator,
        release,
        release_table,
        release_narrow,
        release_old,
        release_old_table,
        release_old_narrow,
        proc,
        psutil,
        pyroute2,
    )
}


def peak_rss_bytes() -> int:
    """Of this program alone: rusage's would include what the process that started it held (`exec_mmap()`)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def main() -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from halfopen.core.errors import HalfopenError

    try:
        call = CALLS[sys.argv[1]]()
    except ImportError as e:
        print(json.dumps({"missing": f"{e.name} is not installed"}), flush=True)
        return
    except HalfopenError as e:
        print(json.dumps({"missing": e.message}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        try:
            answer = call()
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        answer["seconds"] = time.perf_counter() - begun
        answer["cpu_s"] = time.process_time() - used
        answer["rss_bytes"] = peak_rss_bytes()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
