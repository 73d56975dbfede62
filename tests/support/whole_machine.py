"""A small machine: a process 1 with its own processes, network and files of sysctl.d, which may be booted again.

Everything ends with it. Needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from run import command, helped

SYSTEMD_SYSCTL = "/lib/systemd/systemd-sysctl"

# Its directories stand in for those of this machine, its boot for the kernel's.
_SETUP = """
mount --make-rprivate /
mount -t proc proc /proc
for d in /run /usr/lib/sysctl.d; do mount -t tmpfs none $d; done
mount --bind "$0/sysctl.d" /etc/sysctl.d
mount --bind "$0/boot_id" /proc/sys/kernel/random/boot_id
"""

# Forks a process 1 for each boot, as starting Python and importing takes longer than the boot. Process 1 runs commands,
# or (quicker) forks and calls `tune` itself, perhaps to be killed at a step.
_MACHINE = """
import ctypes, json, os, subprocess, sys
import tuning
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux.netns import current, unshare

NEWNS, NEWPID, NEWNET, DEATHSIG = 0x20000, 0x20000000, 0x40000000, 1

def job(words):
    checkpoint = tuning.dying_at(words["crash"])
    if words["wanted"] is not None:
        wanted = [WantedSetting(k, v, "test") for k, v in words["wanted"].items()]
        tuning.apply(wanted, current(), persist=words["persist"], checkpoint=checkpoint)
    else:
        tuning.undo(words["ids"], checkpoint=checkpoint)

def answer(words):
    if "command" in words:
        done = subprocess.run(words["command"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={**os.environ, **words["env"]}, timeout=60)
        return [done.returncode, done.stdout, done.stderr]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job(words)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "", ""]

def first():
    ctypes.CDLL(None).prctl(DEATHSIG, 9, 0, 0, 0)
    subprocess.run(["sh", "-ec", *sys.argv[1:]], check=True, stdin=subprocess.DEVNULL)
    print("up", flush=True)
    for line in sys.stdin:
        if line == "down\\n":
            break
        print(json.dumps(answer(json.loads(line))), flush=True)

def boot():
    unshare(NEWNS | NEWPID | NEWNET)
    pid = os.fork()
    if pid == 0:
        first()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os._exit(boot())
    print("down", os.waitpid(pid, 0)[1], flush=True)
"""


class Machine:
    """A context manager. `directory` keeps what outlives a boot: sysctl.d/ and state/ (the journal).

    setup: more shell commands, run as the machine is made.
    """

    def __init__(self, directory: Path, setup: str = "") -> None:
        self.directory = directory
        self.sysctl_d = directory / "sysctl.d"
        self.state = directory / "state"
        self._setup = setup
        self.sysctl_d.mkdir(mode=0o755, exist_ok=True)

    def __enter__(self) -> Self:
        if not Path(SYSTEMD_SYSCTL).exists():
            pytest.skip("needs systemd-sysctl: apt-get install systemd")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MACHINE, _SETUP + self._setup, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=helped(HALFOPEN_STATE_DIR=str(self.state)),
            text=True,
        )
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        # Process 1 ends when there is nothing more to read, and every other process of the machine with it.
        self._process.communicate(timeout=60)

    def _start(self) -> None:
        (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        assert self._say("boot") == "up"

    def _say(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().rstrip("\n")

    def boot(self) -> None:
        """Go down and come up again: another boot, a new network, and the files of sysctl.d applied."""
        assert self._say("down") == "down 0"
        self._start()
        assert self.run(SYSTEMD_SYSCTL, "--prefix=/net").returncode == 0

    def _ask(self, **words: Any) -> subprocess.CompletedProcess[str]:
        code, out, error = json.loads(self._say(json.dumps(words)))
        return subprocess.CompletedProcess([], code, out, error)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return self._ask(command=command, env=env)

    def halfopen(self, *words: str, dies_at: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run `halfopen` with these words. dies_at: as for `run.command`."""
        return self.run(*command(*words, dies_at=dies_at), **env)

    def tune(
        self,
        wanted: dict[str, int] | None = None,
        *,
        persist: bool = False,
        ids: list[int] | None = None,
        crash: str = "",
    ) -> int:
        """Apply, or (no `wanted`) undo `ids` or all, in a process of its own. Returns its exit code, -9: killed."""
        return self._ask(wanted=wanted, persist=persist, ids=ids, crash=crash).returncode

    def value(self, key: str) -> int:
        """What the kernel holds."""
        return int(self.run("cat", f"/proc/sys/{key.replace('.', '/')}").stdout)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Every file of /etc/sysctl.d: its bytes (where a link leads, for one) and mode."""

        def content(path: Path) -> bytes:
            return bytes(path.readlink()) if path.is_symlink() else path.read_bytes()

        return {p.name: (content(p), p.lstat().st_mode) for p in self.sysctl_d.iterdir()}
