"""Bad input gets one line that says what, where and what to do, the right exit code, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from halfopen.cli import main
from run import environment, one_line, told

TABLE = [
    (("bogus",), 2, "No such command 'bogus'"),
    (("status", "--bogus"), 2, "--bogus"),
    (("status", "extra"), 2, "extra"),
    (("list", "--source", "1.2.3.x"), 2, "--source '1.2.3.x' is not an address or prefix"),
    (("list", "--source", "10.0.0.0/33"), 2, "is not an address or prefix"),
    (("list", "--source", "2001:db8::/129"), 2, "is not an address or prefix"),
    (("list", "--source", "bpf"), 2, "to choose how connections are read, use --read-by bpf"),
    (("watch", "--source", "proc"), 2, "to choose how connections are read, use --read-by proc"),
    (("status", "--source", "diag"), 2, "to choose how connections are read, use --read-by diag"),
    (("status", "--source", "10.0.0.0/8"), 2, "halfopen list --source"),
    (("release", "--source", "bpf", "--yes"), 2, "--read-by bpf of status, list or watch"),
    (("list", "--read-by", "magic"), 2, "--read-by"),
    (("list", "--listener", ":80", "--listener", ":443"), 2, "no connection can match :80 and :443"),
    (("release", "--source", "10.0.0.0/8", "--source", "::/0", "--dry-run"), 2, "10.0.0.0/8 and ::/0"),
    (("watch", "--listener", "10.0.0.1:80", "--listener", "10.0.0.2:80"), 2, "10.0.0.1:80 and 10.0.0.2:80"),
    (("release", "--all", "--yes", "--reason", " "), 2, "--reason is empty"),
    (("watch", "--reason", "runbook 12", "--count", "1"), 2, "--reason applies to releases only"),
    (("list", "--listener", ":http"), 2, "is not a port"),
    (("list", "--listener", ":0"), 2, "is not a port"),
    (("list", "--listener", ":65536"), 2, "is not a port"),
    (("list", "--listener", "::1:80"), 2, "goes in brackets"),
    (("list", "--listener", "example.org:80"), 2, "is not an address"),
    (("list", "--older-than", "10 years"), 2, "--older-than '10 years' is not a duration"),
    (("list", "--older-than", "-1s"), 2, "is not a duration"),
    (("list", "--retransmits", "many"), 2, "--retransmits"),
    (("list", "--retransmits", "256"), 2, "--retransmits 256"),
    (("list", "--sort", "luck"), 2, "--sort"),
    (("list", "--format", "xml"), 2, "--format"),
    (("list", "--limit", "-1"), 2, "--limit"),
    (("status", "--netns", "no-such"), 3, "/run/netns/no-such"),
    (("status", "--netns", "/etc/hostname"), 3, "is not a network namespace"),
    (("status", "--netns", "pid:abc"), 2, "'abc' is not a process id"),
    (("status", "--netns", ""), 2, "is not a namespace"),
    (("release",), 2, "release needs a filter"),
    (("release", "--yes"), 2, "release needs a filter"),
    (("release", "--all", "--older-than", "1s", "--yes"), 2, "contradict"),
    (("release", "--all"), 2, "cannot ask for confirmation"),
    (("watch", "--interval", "0"), 2, "--interval"),
    (("watch", "--interval", "1ms"), 2, "out of range"),
    (("watch", "--for", "0s", "--count", "1"), 2, "--for"),
    (("watch", "--count", "0"), 2, "--count"),
    (("watch", "--release-older-than", "0s", "--count", "1"), 2, "every handshake"),
    (("watch", "--config", "/no/such.toml"), 2, "/no/such.toml"),
    (("watch", "--config", "/"), 2, "/: "),
    (("release-time", "--retries", "x"), 2, "--retries 'x'"),
    (("release-time", "--retries", "8..2"), 2, "--retries '8..2'"),
    (("release-time", "--retries", "256"), 2, "--retries '256'"),
    (("release-time", "--netns", "all"), 2, "--netns all is not possible here"),
    (("release-time", "--measure", "--retries", "8"), 2, "takes too long"),
    (("lab", "--half-open", "9999999"), 2, "--half-open"),
    (("lab", "--for", "soon"), 2, "--for 'soon' is not a duration"),
    (("lab", "--duration", "soon"), 2, "--for 'soon' is not a duration"),
    (("watch", "--duration", "0s", "--count", "1"), 2, "--for"),
]


@pytest.mark.parametrize(("words", "code", "says"), TABLE, ids=lambda v: " ".join(v) if isinstance(v, tuple) else None)
def test_bad_input(words: tuple[str, ...], code: int, says: str) -> None:
    done = told(*words)
    assert says in one_line(done, code)
    assert done.stdout == ""


@pytest.mark.parametrize(
    "text", ["interval = 1", "bogus = 1", "[alarm]\nwindow = 'x'", "[release]\nlistener = [':80']", "\0", "= =", "é"]
)
def test_bad_settings(tmp_path: Path, text: str) -> None:
    file = tmp_path / "watch.toml"
    file.write_bytes(text.encode("latin-1"))
    line = one_line(told("watch", "--config", str(file), "--count", "1"), 2)
    assert str(file) in line or "older_than" in line


def test_settings_are_read_from_a_regular_file_of_a_sensible_size(tmp_path: Path) -> None:
    pipe, large, link = tmp_path / "pipe", tmp_path / "large.toml", tmp_path / "link.toml"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (1024 * 1024 + 1))
    link.symlink_to("/dev/zero")
    for path, says in (
        ("/dev/zero", "is not a regular file"),
        (str(link), "is not a regular file"),
        (str(pipe), "is not a regular file"),
        (str(tmp_path), "is not a regular file"),
        (str(large), "is larger than"),
    ):
        line = one_line(told("watch", "--config", path, "--count", "1"), 2)
        assert f"{path}: " in line
        assert says in line


@pytest.mark.parametrize("kib", [40_000, 110_000])
@pytest.mark.parametrize("words", [("status",), ("lab", "--half-open", "1", "--duration", "100ms")])
def test_too_little_memory_is_one_line(kib: int, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {kib}; exec "$@"', "sh", sys.executable, "-m", "halfopen", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1, 3), done.stderr
    assert len(done.stderr.splitlines()) == (done.returncode != 0), done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemError("<function _find_and_load> returned NULL without setting an exception"), "not enough memory"),
        (ImportError("array.so: cannot open shared object file: Too many open files"), "ulimit -n"),
        (ImportError("libz.so: cannot open shared object file: Error 24"), "ulimit -n"),
        (OSError(24, "Too many open files", "/proc/net/tcp"), "ulimit -n"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else None,
)
def test_what_the_machine_is_short_of_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, says: str
) -> None:
    def short(_: object = None) -> None:
        raise error

    monkeypatch.setattr(main, "run", short)
    monkeypatch.setattr(main, "_forget_output", lambda: None)  # it is the tests' own
    monkeypatch.setattr(main.gc, "freeze", lambda: None)
    assert main.outcome() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_no_thread_to_be_had_is_one_line() -> None:
    code = (
        "import sys, threading\n"
        'def refused(*_, **__): raise RuntimeError("can\'t start new thread")\n'
        "threading._start_new_thread = threading._start_joinable_thread = refused\n"  # the latter from Python 3.13 on
        "from halfopen.cli.entry import main\n"
        "main()\n"
    )
    for words in (("release", "--all", "--dry-run"), ("lab", "--half-open", "1", "--duration", "1s"), ("status",)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if words == ("status",):
            assert (done.returncode, done.stderr) == (0, "")
        elif os.geteuid() == 0:
            assert "starting a thread failed: EAGAIN" in one_line(done, 1)


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_closed_standard_descriptors(closed: str) -> None:
    script = "exec " + " ".join(f"{n}>&-" for n in closed.split()) + '; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "halfopen", "status"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ("1" in closed)
    assert len(done.stderr.splitlines()) == (closed == "1")


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=["LC_ALL=C", "PYTHONIOENCODING"],
)
def test_a_terminal_without_unicode(env: dict[str, str]) -> None:
    # One interpreter, which has them begin with the streams that it made.
    code = (
        "import os, sys; from halfopen.cli import entry, status, tune\n"
        "for words in (['status'], ['tune', 'show'], ['status', '--json']):\n"
        "    sys.argv[1:] = words\n"
        "    if not os.fork(): entry.main()\n"
        "    sys.exit(1) if os.wait()[1] else print('--- did', *words, flush=True)\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment(**env), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    screen, settings, document, _ = done.stdout.split(b"--- did")
    assert b"half-open" in screen
    assert b"tcp_synack_retries" in settings
    assert b'"half_open"' in document


def test_what_no_filter_matches_is_no_error() -> None:
    done = told("list", "--older-than", "1000d")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 half-open connections" in done.stdout


def test_not_linux(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main.outcome() == 3
    assert capsys.readouterr().err == "halfopen: half-open connections are read from the Linux kernel; this is darwin\n"


def test_a_full_disk_behind_standard_output() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "halfopen", "status"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "No space left on device" in one_line(done, 1)


def test_a_reader_that_has_enough() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "halfopen", "list"],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_version() -> None:
    for words in ((), ("--help",), ("-h",)):
        done = told(*words)
        assert done.returncode == 0
        assert all(name in done.stdout for name in main.COMMANDS)
    for name in main.COMMANDS:
        done = told(name, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Usage: halfopen {name}")
    assert told("--version").stdout.startswith("halfopen ")


def test_help_loads_neither_numpy_nor_rich() -> None:
    code = "import sys; sys.argv = ['halfopen', '--help']\nfrom halfopen.cli import entry\n"
    code += "try: entry.main()\nexcept SystemExit: pass\n"
    code += "print('heavy:', sorted({'numpy', 'rich', 'msgspec', 'ctypes'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_status_starts_without_the_journal() -> None:
    code = "import sys, halfopen.ops.looks, halfopen.present.findings.sentences, halfopen.core.findings.verdict\n"
    code += "print('heavy:', sorted({'rich', 'halfopen.core.tune.spots'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_a_screen_that_only_watches_stays_small() -> None:
    # 60 MB at most, of which 11 are libbpf's while a program is loaded, a moment after all of this is imported.
    code = (
        "import sys, halfopen.cli.top, halfopen.present.screen.frame, halfopen.ops.top.top, halfopen.ops.watch.loop\n"
    )
    large = {"rich.console", "rich.text", "concurrent.futures", "logging", "tomllib"}
    code += f"print('large:', sorted({large} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("large: []\n")


def test_a_machine_without_proc_is_told_to_mount_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from halfopen.cli import main

    missing = FileNotFoundError(2, "No such file or directory", "/proc/self/ns/net")
    assert main._failed(missing) == 1
    assert "mount" not in capsys.readouterr().err
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc"))
    assert main._failed(missing) == 1
    assert capsys.readouterr().err.endswith("; /proc is not mounted here: mount -t proc proc /proc\n")


_LOADING = [("OSError(23, 'x', 'y')", "Too many open files in system"), ("MemoryError()", "not enough memory")]


@pytest.mark.parametrize(("error", "says"), _LOADING)
def test_a_program_that_cannot_be_loaded_says_why(error: str, says: str) -> None:
    code = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "halfopen.cli.main":
            raise {error}
sys.meta_path.insert(0, Finder())
from halfopen.cli.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (1, f"halfopen: the program cannot be loaded: {says}\n")
