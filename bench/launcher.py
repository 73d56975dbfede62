"""Runs commands inside the lab's namespace and times them, from the smallest process that can.

`python -I -S launcher.py` reads one JSON request a line and answers each with one. It stays small on purpose: the
kernel counts the pages of whoever forks into the peak RSS of what it then execs (`exec_mmap()`), so a benchmark that
holds numpy would lend its own size to `ss`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_CHUNK = 1 << 20
_KEPT = 1 << 20


def run(argv: list[str], env: dict[str, str], read: bool, holding: str) -> dict[str, Any]:
    """Run a command to its end, its output thrown away or (read) its lines counted with `holding` in them.

    `seconds` is from before the fork to after the wait; `rss_bytes` its peak. Reading makes `seconds` the reader's.
    """
    errors = os.memfd_create("stderr", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    source, sink = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, sink if read else null, 1)]
    actions.append((os.POSIX_SPAWN_DUP2, errors, 2))
    begun = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions)
    os.close(sink)
    count, head = _drain(source, holding.encode()) if read else (0, "")
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begun
    said = os.pread(errors, 4096, 0).decode(errors="replace")
    for fd in (errors, null, source):
        os.close(fd)
    return {
        "seconds": seconds,
        "code": os.waitstatus_to_exitcode(status),
        "rss_bytes": usage.ru_maxrss * 1024,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "count": count,
        "head": head,
        "stderr": said,
    }


def _drain(source: int, holding: bytes) -> tuple[int, str]:
    """How many lines hold it, and the first megabyte."""
    count, kept, rest = 0, b"", b""
    while data := os.read(source, _CHUNK):
        if len(kept) < _KEPT:
            kept += data[: _KEPT - len(kept)]
        whole, newline, rest = (rest + data).rpartition(b"\n")
        count += whole.count(holding) if holding != b"\n" else whole.count(b"\n") + len(newline)
    return count, kept.decode(errors="replace")


def main() -> None:
    for line in sys.stdin:
        try:
            answer = run(**json.loads(line))
        except OSError as e:
            answer = {"error": f"{e.filename or ''}: {e.strerror}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
