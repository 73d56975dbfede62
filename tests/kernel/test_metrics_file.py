"""watch --metrics-file: whole at every moment, fed by the cheap reading, honest about what it could not do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.core.metrics_text import MetricsText
from halfopen.core.reports import Ended, Round
from halfopen.core.where import Namespace
from halfopen.ops.watch.export import Export
from halfopen.ops.watch.metrics_file import MetricsFile
from halfopen.present.metrics import Metrics
from peers import until
from run import begin, one_line
from run import halfopen as command
from telling import ended, read_until

if TYPE_CHECKING:
    from halfopen.lab import Lab


def values(file: Path, name: str) -> list[float]:
    """The values of a metric, whatever its labels."""
    return [float(line.split()[-1]) for line in file.read_text().splitlines() if line.startswith(f"halfopen_{name}{{")]


def kept_busy(lab: Lab) -> None:
    """One connection stays half-open: a text is written at once rather than every quarter of a minute."""
    lab.client.half_open(lab.server.listen(9000), 1).settled()


def test_it_lives_on_the_queues_depths(lab: Lab, tmp_path: Path) -> None:
    """While nothing but the pulse is read, the number is still the right one."""
    web = lab.server.listen(8080, backlog=20_000)
    lab.client.half_open(web, 15_000)
    lab.settle(15_000, timeout=60)
    file = tmp_path / "halfopen.prom"
    done = command(
        *("watch", "--netns", lab.server.netns_path, "--interval", "50ms", "--count", "40", "--json"),
        *("--metrics-file", str(file)),
    )
    readings = [event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "reading"]
    depths = [reading["depths"] for reading in readings]
    assert sum(depths) > len(depths) / 2, depths
    assert values(file, "connections") == values(file, "syn_queue_requests") == [15_000]
    assert values(file, "alarms") == [1]
    assert values(file, "degraded") == [0]


def test_alarm_release_and_the_end_of_it(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300).settled()
    file, config = tmp_path / "halfopen.prom", tmp_path / "watch.toml"
    config.write_text('[alarm]\ncalm = "500ms"\n')
    words = [
        *("watch", "--netns", lab.server.netns_path, "--config", str(config), "--interval", "100ms", "--json"),
        *("--release-older-than", "4s", "--metrics-file", str(file), "--audit-log", str(tmp_path / "audit")),
    ]
    with begin(*words, stdout=subprocess.PIPE, text=True) as process:
        said = read_until(process, lambda event: event["event"] == "clear") + ended(process)[0]
    assert {"alarm", "clear"} <= {json.loads(line)["event"] for line in said.splitlines()}
    assert values(file, "released_connections_total") == [300]
    assert values(file, "release_failures_total") == [0]
    assert values(file, "alarms") == values(file, "connections") == [0]


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "halfopen.prom"
    target = MetricsFile(str(file))
    texts = {letter * size for letter, size in ((b"a", 1), (b"b", 300_000), (b"c", 20_000))}
    target.write(MetricsText(b"a"))
    over = threading.Event()
    bad: list[int] = []

    def read() -> None:
        while not over.is_set():
            if (found := file.read_bytes()) not in texts:
                bad.append(len(found))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        for text in texts:
            target.write(MetricsText(text))
    over.set()
    reader.join()
    assert not bad
    assert [path.name for path in tmp_path.iterdir()] == ["halfopen.prom"]


def test_others_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        MetricsFile(str(tmp_path / "x.prom")).write(MetricsText(b"1"))
    finally:
        os.umask(before)
    assert (tmp_path / "x.prom").stat().st_mode & 0o777 == 0o644


def test_a_link_in_its_way_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for name in ("x.prom", ".x.prom.new"):
        (tmp_path / name).symlink_to(kept)
    MetricsFile(str(tmp_path / "x.prom")).write(MetricsText(b"1"))
    assert kept.read_text() == "mine"
    assert not (tmp_path / "x.prom").is_symlink()
    assert (tmp_path / "x.prom").read_text() == "1"


def test_what_is_there_stays_when_it_cannot_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "x.prom"
    file.mkdir()
    with pytest.raises(HalfopenError, match="directory"):
        MetricsFile(str(file)).write(MetricsText(b"1"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("halfopen.txt", 2, "does not end in .prom"),
        (".prom", 2, "does not end in .prom"),
        ("", 2, "does not end in .prom"),
        ("/nonexistent/halfopen.prom", 1, "/nonexistent/halfopen.prom: No such file or directory"),
        ("/dev/null/halfopen.prom", 1, "Not a directory"),
    ],
)
def test_a_path_that_will_not_do(path: str, code: int, said: str) -> None:
    assert said in one_line(command("watch", "--count", "1", "--metrics-file", path), code)


def test_the_settings_file_names_it_and_the_option_wins(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "watch.toml"
    config.write_text(f'metrics_file = "{tmp_path}/a.prom"\n')
    words = ("watch", "--netns", lab.server.netns_path, "--count", "1", "--config", str(config))
    assert command(*words).returncode == 0
    assert command(*words, "--metrics-file", str(tmp_path / "b.prom")).returncode == 0
    assert values(tmp_path / "a.prom", "readable") == values(tmp_path / "b.prom", "readable") == [1]


def test_a_directory_that_goes_away_is_told_once_and_watching_goes_on(lab: Lab, tmp_path: Path) -> None:
    place, away = tmp_path / "place", tmp_path / "away"
    place.mkdir()
    file = place / "halfopen.prom"
    kept_busy(lab)
    words = ("--netns", lab.server.netns_path, "--interval", "50ms", "--json", "--metrics-file", str(file))
    with (tmp_path / "lines").open("w") as out:
        process = begin("watch", *words, stdout=out)
    try:
        until(lambda: file.exists() and values(file, "readable") == [1], timeout=60)
        place.rename(away)
        until(lambda: '"event":"trouble"' in (tmp_path / "lines").read_text(), timeout=60)
        place.mkdir()
        until(lambda: file.exists() and values(file, "readable") == [1], timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    seen = map(json.loads, (tmp_path / "lines").read_text().splitlines())
    told = [event for event in seen if event["event"] == "trouble"]
    assert [(event["netns"], event["id"]) for event in told] == [("metrics", "metrics-file")]
    assert process.returncode == 0


def test_it_is_written_as_often_as_its_share_of_the_time_allows_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "halfopen.prom"
    export = Export([MetricsFile(str(file))])
    writes = 0
    text = Metrics.text

    def slow(self: Metrics) -> bytes:
        nonlocal writes
        writes += 1
        time.sleep(0.02)
        return text(self)

    monkeypatch.setattr(Metrics, "text", slow)
    for n in range(1000):
        assert export.take(Round(frozenset({Namespace("boot", n, name=f"n{n}")}), frozenset())) is None
    assert writes == 1
    assert 'netns="n0"' in file.read_text()
    assert export.take(Ended(1000)) is None
    assert 'netns="n999"' in file.read_text()
    assert writes == 2
    assert export.take(Ended(1000)) is None
    assert writes == 2, "there was nothing new"


def test_it_is_served_as_well_and_a_client_that_hangs_delays_no_reading(lab: Lab, tmp_path: Path) -> None:
    file, path = tmp_path / "halfopen.prom", str(tmp_path / "m.sock")
    words = ("--netns", lab.server.netns_path, "--interval", "50ms", "--json", "--metrics-file", str(file))
    kept_busy(lab)
    hanging = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    # Not a pipe: one that nobody reads is full after some readings, and the watch would wait for its reader.
    process = begin("watch", *words, "--metrics-listen", path, stdout=subprocess.DEVNULL)
    try:
        until(lambda: os.path.exists(path) and file.exists() and values(file, "readable") == [1], timeout=60)
        for one in hanging:
            one.connect(path)
            one.sendall(b"GET /met")
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(path)
            asking.settimeout(60)
            asking.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            answered = b"".join(iter(lambda: asking.recv(65536), b""))
        assert b"\nhalfopen_readable{" in answered
        before = values(file, "reading_duration_seconds_count")[0]
        until(lambda: values(file, "reading_duration_seconds_count")[0] > before + 20, timeout=60)
    finally:
        for one in hanging:
            one.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode == 0
    assert not os.path.exists(path)


@pytest.mark.root
def test_times_of_handshakes_are_a_histogram_with_an_edge_at_the_timer(lab: Lab, tmp_path: Path) -> None:
    web, file = lab.server.listen(8080, backlog=1024), tmp_path / "halfopen.prom"
    words = ("--netns", lab.server.netns_path, "--interval", "50ms", "--metrics-file", str(file))
    kept_busy(lab)
    process = begin("watch", *words, stdout=subprocess.DEVNULL)

    def count() -> list[float]:
        return values(file, "handshake_duration_seconds_count")

    def below(le: str) -> float:
        [line] = [line for line in file.read_text().splitlines() if "_bucket{" in line and f'le="{le}"' in line]
        return float(line.split()[-1])

    try:
        until(lambda: file.exists() and count() == [0], timeout=60)
        lab.client.connect(web, 7)
        until(lambda: count() == [7], timeout=60)
        assert (below("1.0"), below("+Inf")) == (7, 7)
        web.lose_acks()
        lab.client.connect(web, 5)
        web.lose_acks(False)
        until(lambda: count() == [12], timeout=60)
        assert (below("1.0"), below("3.0"), below("+Inf")) == (7, 12, 12)
        assert values(file, "handshake_duration_seconds_sum")[0] >= 5
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def test_where_ebpf_is_refused_the_metrics_say_so(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "halfopen.prom"
    words = ("watch", "--netns", lab.server.netns_path, "--count", "1", "--metrics-file", str(file))
    assert command(*words, env={"HALFOPEN_REFUSE_BPF": "handshakes"}).returncode == 0
    assert values(file, "handshake_duration_seconds_count") == []
    assert "\nhalfopen_handshakes_counted 0.0\n" in file.read_text()
