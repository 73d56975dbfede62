"""The record when things go wrong: full disks, a journal that does not read, signals, errors of any kind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from numpy.typing import NDArray

import halfopen
from capabilities import NOBODY
from halfopen.ops.release import release
from peers import until
from run import begin, environment, one_line
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log" / "audit.jsonl"
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(path))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def shell(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own; $@ are the words of `halfopen`."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "halfopen", *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.root
def test_a_full_disk_leaves_no_torn_line(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=64)
    lab.client.half_open(web, 20).settled()
    log, out = tmp_path / "log", tmp_path / "out"
    log.mkdir(mode=0o700)
    out.mkdir()
    # The file has 100 bytes left in its page, and there is no other.
    script = f"""
        mount -t tmpfs -o size=4k,mode=700 none {log}
        head -c 3995 /dev/zero | tr '\\0' 1 > {log}/audit; echo >> {log}/audit; chmod 600 {log}/audit
        "$@"; echo $? > {out}/code; cp {log}/audit {out}/full
        mount -o remount,size=64k {log}
        "$@" > /dev/null; echo $? >> {out}/code; cp {log}/audit {out}/after
    """
    words = ("release", "--netns", lab.server.netns_path, "--all", "--yes", "--audit-log", f"{log}/audit")
    done = shell(script, *words)
    assert (out / "code").read_text().split() == ["1", "0"], done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(
        f"halfopen: the audit log '{log}/audit' cannot be written: No space left on device; make room"
    )
    assert (out / "full").stat().st_size == 3996
    _, *records = (out / "after").read_text().splitlines()
    assert [json.loads(r)["phase"] for r in records] == ["begin", "done"]
    assert json.loads(records[1])["released"] == 20


def test_what_earlier_namespaces_lost_is_told_when_the_disk_fills_up(lab: Lab, audit: Path) -> None:
    from halfopen.lab import Lab as AnotherLab

    # All namespaces of this machine would be everybody's: these two are what "all" finds. The log has room for the two
    # lines of the first one.
    code = (
        "import resource, sys\n"
        "from halfopen.cli import entry, release\n"
        "from halfopen.linux.netns import resolve\n"
        "paths = sys.argv.pop(1).split(',')\n"
        "release._targets = lambda netns: [resolve(path) for path in paths]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))\n"
        "entry.main()"
    )
    with AnotherLab() as other:
        for one in (lab, other):
            one.client.half_open(one.server.listen(8080, backlog=64), 20).settled()
        targets = [lab.server.netns_path, other.server.netns_path]
        words = ["release", "--netns", "all", "--all", "--yes", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", code, ",".join(targets), "1000", *words],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        line = one_line(done, 1)
        assert f"halfopen: {targets[1]}: nothing was released: the audit log" in line
        assert "File too large; raise the limit (ulimit -f)" in line
        [released] = json.loads(done.stdout)["namespaces"]
        assert (released["netns"], released["released"]) == (targets[0], 20)
        assert [r["phase"] for r in lines(audit)] == ["begin", "done"]
        other.settle(20)


@pytest.mark.root
def test_a_journal_that_does_not_read_holds_nobody_up(lab: Lab, audit: Path, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=64)
    lab.client.half_open(web, 20).settled()
    where = str(tmp_path / "journal")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        journal.bind(where)
        other.setblocking(False)
        until(lambda: _refused(other, where))
        script = f"""
            mount -t tmpfs none /run; mkdir -p /run/systemd/journal; touch /run/systemd/journal/socket
            mount --bind {where} /run/systemd/journal/socket
            exec "$@"
        """
        done = shell(script, "release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert [r["phase"] for r in lines(audit)] == ["begin", "done"]


def _refused(sender: socket.socket, where: str) -> bool:
    try:
        sender.sendto(b"x", where)
    except BlockingIOError:
        return True
    return False


ERRORS = [MemoryError(), RuntimeError("can't start new thread"), OSError(5, "Input/output error"), SystemExit(7)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("way", ["held", "narrow"])
def test_whatever_breaks_it_off_what_was_released_is_told(
    lab: Lab, audit: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, way: str
) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 2000).settled()
    destroyed = []
    refusals = release.destroy._refusals

    def second(s: socket.socket, requests: NDArray[Any]) -> list[int]:
        destroyed.append(s)
        if len(destroyed) == 3:  # the first is the probe
            raise error
        return refusals(s, requests)

    monkeypatch.setattr(release.destroy, "_refusals", second)
    if way == "narrow":
        monkeypatch.setattr(release, "_census", lambda: None)
    outcome = halfopen.release(all=True, netns=lab.server.netns_path)
    assert outcome.released > 0
    assert [p for p in outcome.problems if p.startswith("stopped early: ")]
    begin, done = lines(audit)
    assert (begin["phase"], done["phase"], done["released"]) == ("begin", "done", outcome.released)
    assert begin["id"] == done["id"]
    assert done["problems"] == list(outcome.problems)


@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_what_breaks_before_anything_is_tried_is_recorded(
    lab: Lab, audit: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(release, "_run", broken)
    with pytest.raises(type(error)):
        halfopen.release(all=True, netns=lab.server.netns_path)
    begin, failed = lines(audit)
    assert (begin["phase"], failed["phase"]) == ("begin", "failed")
    assert failed["error"]


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGHUP], [signal.SIGTERM], [signal.SIGQUIT], [signal.SIGINT] * 6, [signal.SIGINT, signal.SIGTERM] * 3],
    ids=lambda s: "-".join(n.name for n in s),
)
def test_a_signal_ends_it_with_its_end_in_the_record(lab: Lab, audit: Path, signals: list[signal.Signals]) -> None:
    web = lab.server.listen(8080, backlog=40_000)
    lab.client.half_open(web, 30_000)
    lab.settle(30_000, timeout=60)
    words, pipe = ("release", "--netns", lab.server.netns_path, "--all", "--yes"), subprocess.PIPE
    process = begin(*words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
    until(lambda: audit.exists() and audit.stat().st_size > 0)
    for number in signals:
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error
    began, done = lines(audit)
    assert (began["phase"], done["phase"]) == ("begin", "done")
    if signals[0] in (signal.SIGINT, signal.SIGTERM):
        assert process.returncode in (130, 0)
    else:
        assert process.returncode == -signals[0]
    lab.settle(30_000 - done["released"])


@pytest.mark.root
def test_a_state_directory_or_a_log_of_another_user_is_refused(lab: Lab, state: Path, audit: Path) -> None:
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    apply = ("tune", "apply", "--yes", "--netns", lab.server.netns_path, "--set", "tcp_synack_retries=2")
    assert f"{state} belongs to another user" in one_line(command(*apply), 1)
    assert f"{state} belongs to another user" in one_line(command("tune", "undo", "--all"), 1)
    # A directory on the way to it is no better: its owner could put another one in its place.
    os.chown(state, 0, 0)
    inner = {"HALFOPEN_STATE_DIR": str(state / "of" / "mine")}
    (state / "of").mkdir()
    os.chown(state / "of", NOBODY, NOBODY)
    assert f"{state}/of belongs to another user" in one_line(command(*apply, env=inner), 1)
    assert list((state / "of").iterdir()) == []
    audit.parent.mkdir()
    audit.touch(mode=0o600)
    os.chown(audit, NOBODY, NOBODY)
    release_all = ("release", "--netns", lab.server.netns_path, "--all", "--yes")
    assert "belongs to another user" in one_line(command(*release_all), 1)
    os.chown(audit, 0, 0)
    os.chown(audit.parent, NOBODY, NOBODY)
    assert f"{audit.parent} belongs to another user" in one_line(command(*release_all), 1)
    assert audit.stat().st_size == 0


def test_what_tune_and_release_make_under_umask_0_is_private(lab: Lab, tmp_path: Path) -> None:
    state, audit = tmp_path / "a" / "state", tmp_path / "b" / "log" / "audit.jsonl"
    env = {"HALFOPEN_STATE_DIR": str(state), "HALFOPEN_AUDIT_LOG": str(audit)}
    words = ("tune", "apply", "--yes", "--netns", lab.server.netns_path, "--set", "tcp_synack_retries=2")
    assert command(*words, env=env, umask=0).returncode == 0
    assert command("release", "--netns", lab.server.netns_path, "--all", "--yes", env=env, umask=0).returncode == 0
    assert command("tune", "undo", "--all", env=env).returncode == 0
    made = (state.parent, state, state / "tune.jsonl", audit.parent.parent, audit.parent, audit)
    modes = [oct(path.stat().st_mode & 0o7777) for path in made]
    assert modes == ["0o755", "0o700", "0o600"] * 2


@pytest.mark.root
def test_root_without_the_capability_is_told_which(lab: Lab, audit: Path) -> None:
    lab.client.half_open(lab.server.listen(8080, backlog=64), 20).settled()
    drop = ["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"]
    words = [sys.executable, "-m", "halfopen", "release", "--netns", lab.server.netns_path, "--all", "--yes"]
    done = subprocess.run([*drop, *words], env=environment(), capture_output=True, text=True, timeout=60, check=False)
    line = one_line(done, 3)
    assert "root lacks CAP_NET_ADMIN over the network namespace here" in line
    assert "run as root" not in line
    assert [r["phase"] for r in lines(audit)] == ["begin", "failed"]
