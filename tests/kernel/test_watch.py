"""watch: quiet until something happens, an alarm when it does, a release by age, an end in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers import until
from run import Begun, begin
from run import halfopen as command
from telling import ended, read_until

if TYPE_CHECKING:
    from halfopen.lab import Lab


def start(*words: str, **options: Any) -> Begun:
    return begin("watch", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_alarm_a_release_and_a_clear(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=4096)
    audit = tmp_path / "audit.jsonl"
    config = tmp_path / "watch.toml"
    config.write_text('[alarm]\ncalm = "500ms"\n')
    process = start(
        *("--netns", lab.server.netns_path, "--config", str(config), "--interval", "100ms", "--json"),
        *("--release-older-than", "3s", "--audit-log", str(audit)),
    )
    assert process.stdout is not None
    first = process.stdout.readline() + process.stdout.readline()
    lab.client.half_open(web, 500).settled()
    told = read_until(process, lambda event: event["event"] == "clear")
    out, err = ended(process)
    assert (process.returncode, err) == (0, "")
    seen = events(first + told + out)
    names = [e["event"] for e in seen if e["event"] != "reading"]
    names = [name for name in names if name not in ("rising", "cause")]
    assert names == ["begin", "alarm", "released", "clear", "end"]
    by_name = {e["event"]: e for e in seen}
    assert (by_name["alarm"]["half_open"], by_name["alarm"]["because"]) == (500, "unanswered")
    assert by_name["alarm"]["unanswered"] >= by_name["alarm"]["limit"]
    assert (by_name["clear"]["address"], by_name["clear"]["port"]) == ("0.0.0.0", 8080)
    assert (by_name["released"]["released"], by_name["released"]["left"]) == (500, 0)
    assert by_name["clear"]["half_open"] == 0
    assert all(e["schema"] == "halfopen.watch/1" for e in seen)
    assert [json.loads(line)["phase"] for line in audit.read_text().splitlines()] == ["begin", "done"]
    assert lab.server.half_open() == 0


def test_programs_of_the_machine_go_first(lab: Lab) -> None:
    watch = start("--netns", lab.server.netns_path, "--interval", "50ms")
    try:
        assert watch.stdout is not None
        watch.stdout.readline()
        assert os.getpriority(os.PRIO_PROCESS, watch.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)
    finally:
        watch.terminate()
        watch.communicate(timeout=60)


def test_quiet_while_nothing_changes(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 7).settled()
    done = command("watch", "--netns", lab.server.netns_path, "--interval", "50ms", "--count", "10")
    lines = done.stdout.splitlines()
    assert len([line for line in lines if "half-open" in line and "watching" not in line]) == 2, (
        lines
    )  # one, and the end
    every = command("watch", "--netns", lab.server.netns_path, "--interval", "50ms", "--count", "10", "--all-lines")
    assert len(every.stdout.splitlines()) == 12


def test_it_releases_nothing_unless_told(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 60).settled()
    done = command("watch", "--netns", lab.server.netns_path, "--interval", "500ms", "--count", "7")
    assert "ALARM" in done.stdout
    assert lab.server.half_open() == 60


def test_a_signal_ends_it_in_order(lab: Lab) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("--netns", lab.server.netns_path, "--interval", "10s")
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "ended after 1 reading" in out


def test_a_closed_pipe_ends_it(lab: Lab) -> None:
    process = start("--netns", lab.server.netns_path, "--interval", "50ms", "--all-lines")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_namespace_that_vanishes_is_mentioned_once_and_survived(tmp_path: Path) -> None:
    from halfopen.lab import Lab

    with Lab() as first:
        link = tmp_path / "ns"
        link.symlink_to(first.server.netns_path)
        process = start("--netns", str(link), "--interval", "50ms", "--json")
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
    told = read_until(process, lambda event: event["event"] == "trouble")
    time.sleep(1)  # 20 intervals
    out, err = ended(process)
    out = told + out
    assert (process.returncode, err) == (0, "")
    troubles = [e for e in events(out) if e["event"] == "trouble"]
    assert len(troubles) == 1, out
    assert events(out)[-1]["event"] == "end"


def test_settings_from_a_file(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 20).settled()
    config = tmp_path / "watch.toml"
    config.write_text(f'interval = "500ms"\nnetns = "{lab.server.netns_path}"\n[alarm]\nminimum = 10\n')
    done = command("watch", "--config", str(config), "--count", "7")
    assert done.returncode == 0, done.stderr
    assert "ALARM" in done.stdout
    assert "(alarm at 10)" in done.stdout


def test_it_keeps_its_interval(lab: Lab) -> None:
    begun = time.monotonic()
    done = command("watch", "--netns", lab.server.netns_path, "--interval", "100ms", "--count", "11", "--json")
    took = time.monotonic() - begun
    readings = [e["time"] for e in events(done.stdout) if e["event"] == "reading"]
    assert len(readings) == 11
    assert 0.9 <= readings[-1] - readings[0] <= took


def test_readings_are_spaced_out_before_they_use_more_of_a_processor(lab: Lab, tmp_path: Path) -> None:
    lab.server.listen(8080)
    config = tmp_path / "watch.toml"
    config.write_text('interval = "50ms"\nmax_cpu = "0.2%"\n')
    process = start("--netns", lab.server.netns_path, "--config", str(config))
    assert process.stdout is not None
    said = next(line for line in process.stdout if "readings are" in line)
    assert "to use at most 0.2% of a processor; raise max_cpu" in said
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_every_namespace(lab: Lab) -> None:
    # A namespace is found through a process that lives in it.
    process = lab.server.spawn(["sleep", "60"])
    web = lab.server.listen(8080)
    lab.client.half_open(web, 60).settled()

    def there() -> bool:
        return os.readlink(f"/proc/{process.pid}/ns/net") == f"net:[{lab.server.inode}]"

    until(there)
    done = command("watch", "--netns", "all", "--interval", "500ms", "--count", "7", "--json")
    # Other tests' labs may be there too.
    mine = [e for e in events(done.stdout) if e["event"] == "alarm" and e["netns"] == f"pid:{process.pid}"]
    assert [a["half_open"] for a in mine] == [60]


def test_only_the_listeners_named_are_watched_and_released(lab: Lab, tmp_path: Path) -> None:
    for port, count in ((8080, 60), (8081, 30), (80, 20)):
        lab.client.half_open(lab.server.listen(port), count).settled()
    audit = tmp_path / "audit.jsonl"
    words = ("--netns", lab.server.netns_path, "--listener", ":8081", "--interval", "50ms", "--json")
    seen = events(command("watch", *words, "--count", "3").stdout)
    # Also where only the depths of the queues are read, from the second reading on.
    assert [e["half_open"] for e in seen if e["event"] == "reading"] == [30, 30, 30]
    assert (seen[0]["watched"], [e for e in seen if e["event"] == "alarm"]) == ("on :8081", [])
    words = (*words, "--release-older-than", "100ms", "--audit-log", str(audit), "--reason", "runbook 12")
    until(lambda: command("watch", *words, "--count", "1").returncode == 0 and lab.server.half_open() == 80)
    assert {json.loads(line)["reason"] for line in audit.read_text().splitlines()} == {"runbook 12"}


def test_only_the_sources_named_are_watched(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 40, sources="few").settled()
    counts = []
    for prefix in ("198.19.255.1", "198.19.255.0/24", "203.0.113.0/24"):
        done = command(
            *("watch", "--netns", lab.server.netns_path, "--source", prefix),
            *("--interval", "50ms", "--count", "3", "--json"),
        )
        counts.append({e["half_open"] for e in events(done.stdout) if e["event"] == "reading"})
    assert counts == [{5}, {40}, {0}]


def test_what_is_watched_may_stand_in_the_file(lab: Lab, tmp_path: Path) -> None:
    for port in (8080, 8081):
        lab.client.half_open(lab.server.listen(port), port - 8070).settled()
    config = tmp_path / "watch.toml"
    config.write_text(f'netns = "{lab.server.netns_path}"\nlistener = [":8080"]\n')
    for words, count in (((), 10), (("--listener", ":8081"), 11)):  # options win
        done = command("watch", "--config", str(config), "--count", "1", *words)
        assert f"{count} half-open" in done.stdout, done
    config.write_text('listener = [":8080"]\n[release]\nolder_than = "1s"\nlistener = [":443"]\n')
    done = command("watch", "--config", str(config), "--count", "1")
    assert (done.returncode, "no connection can match :8080 and :443" in done.stderr) == (2, True)


def test_it_reads_as_it_is_told(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 3).settled()
    words = ("--netns", lab.server.netns_path, "--interval", "50ms", "--count", "2")
    done = command("watch", *words, "--read-by", "bpf", env={"HALFOPEN_REFUSE_BPF": "walk,census"})
    assert done.returncode == 3, done
    for way in ("diag", "proc"):
        assert "3 half-open" in command("watch", *words, "--read-by", way).stdout


def test_the_old_word_for_the_time_still_works() -> None:
    done = command("watch", "--duration", "100ms", "--interval", "50ms")
    assert (done.returncode, done.stderr) == (0, "")
