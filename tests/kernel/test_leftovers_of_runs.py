"""Whole runs of pytest, with the same plugin: one that leaves something behind, or skips what it must not, fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Where an inner test writes the pid of what it leaves; that is ended afterwards."""
    file = tmp_path / "pid"
    yield file
    if file.exists():
        os.kill(int(file.read_text()), signal.SIGKILL)


def run_pytest(
    where: Path, source: str, *, require: bool = False, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    (where / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (where / "pytest.ini").write_text("[pytest]\n")
    (where / "test_inner.py").write_text(textwrap.dedent(source))
    path = [str(TESTS / "support"), str(TESTS.parent / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HALFOPEN_NO_SECOND_TRY": "1"}
    environment["HALFOPEN_TEST_PATIENCE_S"] = "2"
    environment.pop("HALFOPEN_REQUIRE_KERNEL", None)
    if require:
        environment["HALFOPEN_REQUIRE_KERNEL"] = "1"
    command = [*before, sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(where)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=where, timeout=60)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.strip().splitlines()[-1]


def test_a_run_that_leaves_a_process_fails_and_says_which(tmp_path: Path, pid_file: Path) -> None:
    source = f"""
        import pathlib, subprocess
        def test_passes():
            child = subprocess.Popen({SLEEP!r}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child.returncode = 0
            pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 1, done.stdout
    assert f"process {pid_file.read_text()} (" in done.stdout
    assert "1 passed, 1 error" in last_line(done)


def test_a_run_that_leaves_a_namespace_fails_and_says_which(tmp_path: Path) -> None:
    source = """
        from halfopen.linux import netns
        def test_passes():
            netns.create()
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 1, done.stdout
    assert "network namespace 4" in done.stdout
    assert "1 passed, 1 error" in last_line(done)


def test_a_clean_run_passes(tmp_path: Path) -> None:
    source = """
        import os
        from halfopen.linux import netns
        def test_passes():
            os.close(netns.create())
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in last_line(done)


SKIPS = """
    import pytest
    def test_inside():
        pytest.skip("no such feature")
    @pytest.mark.skipif(True, reason="marked")
    def test_marked():
        pass
    def test_import():
        pytest.importorskip("no_such_module_at_all")
    @pytest.fixture
    def fixture():
        pytest.skip("in a fixture")
    def test_fixture(fixture):
        pass
    @pytest.mark.xfail(strict=True)
    def test_expected_to_fail():
        assert False
"""


# Does what other users of a machine do, all in the network namespace that the inner run was started in, once the file
# BEGIN is there; says so with the file DONE, and undoes it when its input ends.
STRANGER = """
import os, socket, subprocess, sys, time
from pathlib import Path
begin, done, name = sys.argv[1:]
while not os.path.exists(begin):
    time.sleep(0.01)
run = lambda *words: subprocess.run(words, check=True)
setting = Path("/proc/sys/net/ipv4/tcp_fin_timeout")
before = setting.read_text()
run("ip", "netns", "add", name)
setting.write_text("59")
listener = socket.create_server(("127.0.0.1", 0))
Path(done).touch()
sys.stdin.read()
setting.write_text(before)
run("ip", "netns", "del", name)
"""


@pytest.mark.root
def test_what_other_users_of_the_machine_do_meanwhile_is_not_held_against_a_run(tmp_path: Path) -> None:
    begin, done = tmp_path / "begin", tmp_path / "done"
    source = f"""
        import os, pathlib, time
        def test_passes():
            pathlib.Path({str(begin)!r}).touch()
            deadline = time.monotonic() + 60
            while not os.path.exists({str(done)!r}):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    """
    inner = tmp_path / "inner"
    inner.mkdir()
    words = [sys.executable, "-c", STRANGER, str(begin), str(done), f"strange-{os.getpid()}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as stranger:
        ran = run_pytest(inner, source)
        assert stranger.stdin
        stranger.stdin.close()
    assert stranger.returncode == 0
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("ignored", ["INT", "QUIT", "HUP", "TERM"])
def test_a_run_started_with_a_signal_ignored_gives_its_children_the_default(tmp_path: Path, ignored: str) -> None:
    # As `make test &` in a script does, or nohup.
    source = f"""
        import subprocess, sys
        def test_passes():
            code = "import os, signal, time; os.kill(os.getpid(), signal.SIG{ignored}); time.sleep(9)"
            done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            assert done.returncode == -{int(getattr(signal, f"SIG{ignored}"))}
    """
    done = run_pytest(tmp_path, source, before=["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh"])
    assert done.returncode == 0, done.stdout


def test_skips_are_skips(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS)
    assert done.returncode == 0, done.stdout
    assert "4 skipped, 1 xfailed" in last_line(done)


def test_where_the_kernel_is_required_every_skip_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS, require=True)
    assert done.returncode == 1, done.stdout
    assert "skipped" not in last_line(done)
    for reason in ("no such feature", "marked", "no_such_module_at_all", "in a fixture"):
        assert reason in done.stdout


def test_where_the_kernel_is_required_a_skipped_module_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "import pytest\npytest.importorskip('no_such_module_at_all')", require=True)
    assert done.returncode != 0, done.stdout
    assert "nothing may be skipped" in done.stdout
