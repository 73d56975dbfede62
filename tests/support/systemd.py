"""A real systemd as process 1 of namespaces of its own, with hardly a unit: to see what runs through it.

The file system is read-only to it, of /proc/sys only the settings of its own network are writable, and its units are
three empty targets, so that nothing of this machine is touched. Needs root and the package systemd.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from peers import until
from run import command, environment

SYSTEMD = "/lib/systemd/systemd"

# $0: the name of its cgroup; $1: a directory that it may write to. Then, as process 1, the second part.
_CGROUP = """
mount --make-rprivate /
mount -t cgroup2 none /mnt
mkdir "/mnt/$0"
echo $$ > "/mnt/$0/cgroup.procs"
umount /mnt
exec unshare --pid --fork --kill-child $NET --uts --ipc --cgroup "$@"
"""
_FIRST = """
mount -t proc proc /proc
mount --bind "$0" "$0"
eval "$SETUP"
mount -o remount,bind,ro /
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/proc
mount -t proc proc /mnt/proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /mnt/proc/sys/net /proc/sys/net
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
for d in /run /var /etc/systemd /lib/systemd/system /lib/systemd/system-generators; do
    mount -t tmpfs -o mode=755 none $d
done
mkdir /run/systemd
for t in only sysinit shutdown; do
    printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' $t > /lib/systemd/system/$t.target
done
# Credentials of a unit are mounted by a child, as on a machine where mounts are shared.
mount --make-rshared /
exec env -i container=halfopen PATH=/usr/sbin:/usr/bin:/sbin:/bin "$1" --system --unit=only.target \\
    --show-status=no --log-target=null --default-standard-output=null
"""


class Systemd:
    """A context manager; `directory` is the one place that is writable inside, at the same path.

    netns: the path of a network namespace to live in, "": one of its own. setup: more shell commands, run before the
    file system is read-only.
    """

    def __init__(self, directory: Path, *, netns: str = "", setup: str = "") -> None:
        self._directory = str(directory)
        self._netns, self._setup = netns, setup
        self._cgroup = f"halfopen-test-{os.getpid()}"

    def __enter__(self) -> Self:
        words = ["unshare", "--mount", "sh", "-ec", _CGROUP, self._cgroup]
        if self._netns:
            words = ["nsenter", f"--net={self._netns}", *words]
        self._outer = subprocess.Popen(
            [*words, "sh", "-ec", _FIRST, self._directory, SYSTEMD],
            stdin=subprocess.DEVNULL,
            env=environment(NET="" if self._netns else "--net", SETUP=self._setup),
        )
        try:
            until(lambda: self.run("systemctl", "is-system-running").stdout == "running\n")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        # Process 1 takes every other process it has along, and unshare, which waited for it, ends.
        if first := self._first():
            os.kill(int(first), signal.SIGKILL)
        self._outer.wait(timeout=30)
        script = f'mount -t cgroup2 none /mnt; find "/mnt/{self._cgroup}" -depth -type d -exec rmdir {{}} +'
        until(lambda: subprocess.run(["unshare", "--mount", "sh", "-ec", script], check=False).returncode == 0)

    def _first(self) -> str:
        """Its process 1, as seen from here; empty while there is none."""
        if self._outer.poll() is not None:
            return ""
        return Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().strip()

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        first = self._first()
        if not first:
            return subprocess.CompletedProcess([], 1, "", "")
        # --root and --wd, as the root of the mount namespace is another directory where the tests run in a chroot.
        spaces = ["--mount", "--root", "--wd", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        return subprocess.run(
            ["nsenter", f"--target={first}", *spaces, *command],
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def halfopen(self, *words: str, dies_at: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run `halfopen` with these words inside. dies_at: as for `run.command`."""
        return self.run(*command(*words, dies_at=dies_at), **env)
