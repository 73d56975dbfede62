"""The lab, and the commands that it prints, work for a user who is not root; a refusal names its cause."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest

import readable


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python with this checkout's halfopen as uid 65534."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    python = readable.python(starts_others=True)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",  # as Debian gives it to a user: tc is in /usr/sbin
        "PYTHONPATH": readable.path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }

    def run(*words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*readable.AS_NOBODY, *before, python, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd="/",
            timeout=300,
            check=False,
        )

    return run


def test_lab_works_for_an_unprivileged_user(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = """
import os
from halfopen.lab import Lab, enter_user_namespace, user_namespace_refusal
assert os.getuid() == 65534
assert (refusal := user_namespace_refusal()) is None, refusal
enter_user_namespace()
enter_user_namespace()
with Lab() as lab:
    web = lab.server.listen(0, backlog=10000, other_process=True)
    print(lab.client.half_open(web, 1000).settled())
    print(lab.client.connect(web, 5).alive())
    print(lab.client.slow(web, 20, delay_s=0.1).wait(10))
    print(len(lab.server.exec(["ss", "-Htan", "state", "syn-recv"]).stdout.splitlines()))
"""
    done = as_nobody("-c", script)
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.stderr, done.stdout.split()) == ("", ["1000", "5", "20", "1000"])
    done = as_nobody("-m", "halfopen", "lab", "--half-open", "23", "--", "ss", "-Htan", "state", "syn-recv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 23
    assert "Look  halfopen status --netns /proc/" in done.stderr


def test_every_command_that_is_printed_works_for_an_unprivileged_user(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """From another terminal, outside the user namespace of the lab, as it was printed."""
    script = """
import os, shlex, subprocess, sys, tempfile
home = tempfile.mkdtemp()
os.environ["HOME"] = home
for name in ("HALFOPEN_STATE_DIR", "HALFOPEN_AUDIT_LOG", "XDG_STATE_HOME"):
    os.environ.pop(name, None)
halfopen = [sys.executable, "-m", "halfopen"]
lab = subprocess.Popen([*halfopen, "lab", "--half-open", "60", "--for", "100s"], stdout=subprocess.PIPE, text=True)

def printed(text):
    return [l.split("  ", 1)[1] for l in text.splitlines() if l.startswith(("Look", "Next", "Also", "Undo"))]

def asks(command):
    if "watch" in command.split()[:2]:
        return ["--for", "1s"]
    return ["--yes"] if set(command.split()[:2]) & {"release", "tune"} else []

def run(command, *more):
    words = shlex.split(command)
    if words[0] == "sudo":  # it needs eBPF, and says so
        assert words[-4:-2] == ["--for", "10s"], words
        return []
    assert words[0] == "halfopen"
    done = subprocess.run([*halfopen, *words[1:], *more], capture_output=True, text=True)
    print(done.returncode, command, done.stderr if done.returncode else "")
    return printed(done.stdout)

try:
    lab.stdout.readline()
    [look] = printed(lab.stdout.readline())
    where = look.split()[-1]
    found = run(look) + run(f"halfopen tune show --netns {where}")
    found += run(f"halfopen tune listener :8080 --netns {where}") + run(f"halfopen release-time --netns {where}")
    undo = [c for command in dict.fromkeys(found) for c in run(command, *asks(command))]
    for command in undo:
        run(command, *([] if " undo " in command else asks(command)))
    print(len(found) >= 4, len(undo) >= 2)
finally:
    lab.terminate()
    lab.wait()
    import shutil
    shutil.rmtree(home)
"""
    done = as_nobody("-c", script)
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    *codes, last = done.stdout.splitlines() or [done.stderr]
    assert last == "True True", (done.stdout, done.stderr)
    assert [line for line in codes if not line.startswith("0 ")] == []


def test_measuring_release_times_works_for_an_unprivileged_user(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = as_nobody("-m", "halfopen", "release-time", "--measure", "--retries", "0..1", "--json")
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    times = [s["measured_s"] for s in json.loads(done.stdout)["schedules"]]
    # Timers come late on a busy machine, never early; the next schedules would be 3 s and 7 s.
    assert 0.9 < times[0] < 2.9 < times[1] < 6.5
    # Killed, it leaves nobody behind.
    script = """
import os, signal, sys, time
from halfopen.lab import apart
reader, writer = os.pipe()
child = os.fork()
if not child:
    apart(lambda: (os.write(writer, b"%d" % os.getpid()), time.sleep(60)))()
pid = int(os.read(reader, 16))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
until = time.monotonic() + 10
while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
    time.sleep(0.01)
print(os.path.exists(f"/proc/{pid}"))
"""
    done = as_nobody("-c", script)
    assert (done.stderr, done.stdout.split()) == ("", ["False"])


def test_a_refusal_to_measure_is_one_line(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    words = ("-m", "halfopen", "release-time", "--measure")
    done = as_nobody(*words, before=("unshare", "--map-root-user", "sh", "-c", forbid, "sh"))
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 3
    assert "sysctl user.max_user_namespaces" in done.stderr.splitlines()[-1]


def test_refusal_of_user_namespaces_names_the_setting(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    # The limit is each user namespace's own: one is made in which it is 0, and its root loses all capabilities.
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    done = as_nobody("-m", "halfopen", "lab", before=("unshare", "--map-root-user", "sh", "-c", forbid, "sh"))
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 3
    assert "sysctl user.max_user_namespaces" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_entering_a_user_namespace_needs_a_single_thread(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = """
import threading
from halfopen.lab import LabError, enter_user_namespace
stop = threading.Event()
threading.Thread(target=stop.wait).start()
try:
    enter_user_namespace()
except LabError as e:
    print(e.line())
stop.set()
"""
    done = as_nobody("-c", script)
    assert "one thread" in done.stdout, done.stderr
