"""The face and what keeps it: a real process, killed, stopped and flooded, that never holds up the one beside it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halfopen.core.metrics_text import MetricsText
from halfopen.linux import privileges
from halfopen.ops.watch import metrics_server
from halfopen.service import face_keeper
from halfopen.service.face_keeper import FaceKeeper
from halfopen.service.messages import FaceReport
from halfopen.service.running import FaceMetrics

GET = b"GET /metrics HTTP/1.1\r\n\r\n"
PATIENCE_S = 20


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def facing(tmp_path: Path) -> Iterator[tuple[FaceKeeper, str]]:
    path = str(tmp_path / "m.sock")
    listener, keeper = metrics_server.listen(path), FaceKeeper()
    try:
        keeper.begin({"metrics": {"fd": listener.socket.fileno()}}, [listener.socket.fileno()])
        yield keeper, path
    finally:
        keeper.close()
        listener.close()


@pytest.fixture
def face(tmp_path: Path) -> Iterator[tuple[FaceKeeper, str]]:
    with facing(tmp_path) as made:
        yield made


def scraped(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(PATIENCE_S)
        one.connect(path)
        one.sendall(GET)
        return b"".join(iter(lambda: one.recv(65536), b"")).partition(b"\r\n\r\n")[2]


def there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_serves_the_newest_text_without_any_privilege(face: tuple[FaceKeeper, str]) -> None:
    keeper, path = face
    for i in range(100):
        keeper.latest("metrics", f"x {i}\n".encode())
    until(lambda: scraped(path) == b"x 99\n")
    pid = keeper.health.pid
    sets = privileges.capabilities(pid)
    assert {sets[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status
    assert "numpy" not in Path(f"/proc/{pid}/maps").read_text()
    until(lambda: keeper.health.memory_bytes)
    assert keeper.health.memory_bytes < 40 * 2**20
    keeper.close()
    assert not there(pid)
    assert keeper.told() == []


def test_a_large_text_goes_over_whole(face: tuple[FaceKeeper, str]) -> None:
    keeper, path = face
    text = b"x" * 5_000_000
    began = time.monotonic()
    keeper.latest("metrics", text)
    assert time.monotonic() - began < 10, "the loop only puts it into the box"
    until(lambda: scraped(path) == text)


def test_one_that_is_killed_is_replaced_and_gets_what_was_not_taken(
    face: tuple[FaceKeeper, str],
) -> None:
    keeper, path = face
    keeper.latest("metrics", b"x 1\n")
    until(lambda: scraped(path) == b"x 1\n")
    first = keeper.health.pid
    os.kill(first, signal.SIGKILL)
    keeper.latest("metrics", b"x 2\n")
    # Whoever asks meanwhile waits in the queue of the socket, which outlives the face.
    until(lambda: scraped(path) == b"x 2\n")
    assert keeper.health.pid not in (0, first)
    assert keeper.health.restarts == 1
    [told] = keeper.told()
    assert "was killed (SIGKILL); another one is started" in told


def test_what_seldom_changes_of_the_metrics_goes_over_once_and_to_every_face(face: tuple[FaceKeeper, str]) -> None:
    keeper, path = face
    sent: list[tuple[str, bytes]] = []
    hand_over = keeper.latest
    keeper.latest = lambda kind, body: (sent.append((kind, body)), hand_over(kind, body))[1]  # type: ignore[method-assign]
    metrics = FaceMetrics(keeper, None)  # type: ignore[arg-type]
    listeners = b"l 1\n" * 1000
    for i in range(3):
        metrics.write(MetricsText(f"x {i}\n".encode(), listeners))
    assert [kind for kind, _ in sent] == ["metrics-listeners", "metrics", "metrics", "metrics"]
    until(lambda: scraped(path) == b"x 2\n" + listeners)
    first = keeper.health.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: keeper.health.pid not in (0, first))
    until(lambda: scraped(path) == b"x 2\n" + listeners)
    metrics.write(MetricsText(b"x 3\n", b"l 2\n"))
    until(lambda: scraped(path) == b"x 3\nl 2\n")


def test_one_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_keeper, "_QUIET_TICK_S", 0.05)
    monkeypatch.setattr(face_keeper, "_SILENT_S", 1.0)
    with facing(tmp_path) as (keeper, path):
        keeper.latest("metrics", b"x 1\n")
        until(lambda: scraped(path) == b"x 1\n")
        first = keeper.health.pid
        os.kill(first, signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(2000):
            keeper.send("nobody", b"y" * 1000)
        assert time.monotonic() - began < 30, "a full queue holds up nobody"
        assert keeper.dropped > 500
        until(lambda: keeper.health.pid not in (0, first))
        assert not there(first)
        keeper.latest("metrics", b"x 2\n")
        until(lambda: scraped(path) == b"x 2\n")
        assert any("did not answer" in line for line in keeper.told())


def test_one_that_is_slow_to_start_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_keeper, "_QUIET_TICK_S", 0.01)
    monkeypatch.setattr(face_keeper, "_SILENT_S", 0.02)  # no process starts as fast
    restarts: list[int] = []
    reported = FaceKeeper.reported

    def told(self: FaceKeeper, report: FaceReport) -> None:
        restarts.append(self.health.restarts)
        reported(self, report)

    monkeypatch.setattr(FaceKeeper, "reported", told)
    with facing(tmp_path):
        until(lambda: restarts)
        assert restarts[0] == 0


def test_one_that_never_starts_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_keeper, "_QUIET_TICK_S", 0.01)
    monkeypatch.setattr(face_keeper, "_STARTS_WITHIN_S", 0.02)
    with facing(tmp_path) as (keeper, _):
        until(lambda: keeper.health.restarts)
        assert any("did not answer for 0.02 s" in line for line in keeper.told())


def test_faces_that_do_not_live_are_started_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_keeper, "_MODULE", "halfopen.service.no_such_face")
    keeper = FaceKeeper()
    keeper.begin({})
    try:
        until(lambda: keeper.health.restarts >= 2)
        restarts = keeper.health.restarts
        assert restarts <= 4
        assert keeper.alive
        assert any("ended (exit code 1)" in line for line in keeper.told())
    finally:
        keeper.close()


def test_it_ends_when_the_other_process_is_killed(tmp_path: Path) -> None:
    """Neither half outlives the other, however it ends."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        keeper = FaceKeeper()
        keeper.begin({})
        while not keeper.health.memory_bytes:
            time.sleep(0.01)
        os.write(write, str(keeper.health.pid).encode())
        signal.pause()
        os._exit(0)
    face = int(os.read(read, 20))
    assert there(face)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not there(face))
    os.close(read)
    os.close(write)


def test_a_face_that_may_have_news_is_asked_each_second() -> None:
    keeper = FaceKeeper()
    keeper._set({"metrics": {"fd": 3}})
    assert keeper.tick_s == 5.0
    keeper._set({"metrics": {"fd": 3}, "web": {}})
    assert keeper.tick_s == 1.0
