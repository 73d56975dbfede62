"""A host of the lab: a network namespace held by a descriptor, and the operations inside it."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final, TypeVar

from halfopen.core.errors import LabError, NotPermitted, Unsupported, UsageError
from halfopen.lab import child
from halfopen.lab.wiring import Side
from halfopen.linux import netns, threads

T = TypeVar("T")

_CHILD: Final = [sys.executable, "-I", "-S", child.__file__]
_ENDS_WITHIN_S: Final = 2.0
# Debian's directories of tc and nft, which are not on an ordinary user's PATH.
_SYSTEM_PLACES: Final = "/usr/sbin:/sbin"


class Keeper:
    """A thread that lives in the namespace as long as the lab does, and starts its child processes.

    PR_SET_PDEATHSIG applies to the *thread* that forked: children of a short-lived thread would be killed with it.
    """

    def __init__(self, fd: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """Raises: KernelError, NotPermitted."""
        self._begun: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(fd,), name="lab-keeper", daemon=True)
        threads.start(self._thread)
        failed = self._begun.get()
        if failed is not None:
            raise failed

    def _run(self, fd: int) -> None:
        try:
            netns.run_in(fd, self._loop)
        except BaseException as e:
            self._begun.put(e)

    def _loop(self) -> None:
        self._begun.put(None)
        while (work := self._work.get()) is not None:
            work()

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the keeper. Returns its result or raises its exception."""
        job = threads.Job(work)
        self._work.put(job.run)
        job.done.wait()
        return job.result()

    def close(self) -> None:
        """End the thread."""
        self._work.put(None)
        self._thread.join()


class LabHost:
    """One private host: a network namespace that ends with the lab, at the latest with this process."""

    def __init__(self, name: str, side: Side) -> None:
        self.name = name
        self.side = side
        self._fd = netns.create()
        self.inode = os.fstat(self._fd).st_ino
        self._children: set[subprocess.Popen[Any]] = set()
        self._keeper = Keeper(self._fd)

    @property
    def netns_fd(self) -> int:
        """The descriptor that holds the namespace. Raises: LabError once the lab is closed."""
        if self._fd < 0:
            raise LabError(f"the lab's {self.name} is closed")
        return self._fd

    @property
    def netns_path(self) -> str:
        """A path that opens the namespace, for `--netns PATH` and `nsenter --net=PATH`, as long as the lab lives."""
        return f"/proc/{os.getpid()}/fd/{self.netns_fd}"

    @property
    def v4(self) -> str:
        """The host's IPv4 address on the wire."""
        return self.side.v4

    @property
    def v6(self) -> str:
        """The host's IPv6 address on the wire."""
        return self.side.v6

    @property
    def device(self) -> str:
        """The name of the host's network device."""
        return self.side.device

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a short-lived thread inside the namespace, where sockets it opens stay. Raises: as `work`."""
        return netns.run_in(self.netns_fd, work)

    def sysctl(self, key: str) -> str:
        """A setting of the namespace, as in `net.ipv4.tcp_syncookies`. Raises: UsageError, Unsupported."""
        path = _sysctl_path(key)

        def read() -> str:
            with open(path, encoding="ascii") as f:
                return f.read().strip()

        try:
            return self.run(read)
        except FileNotFoundError:
            raise Unsupported(key, f"there is no sysctl {key} in the lab's namespace") from None

    def set_sysctl(self, key: str, value: object) -> None:
        """Change a setting of this namespace only. Raises: UsageError, Unsupported, NotPermitted."""
        self.set_sysctls({key: str(value)})

    def set_sysctls(self, values: Mapping[str, str], *, missing_ok: bool = False) -> None:
        """Change several settings in one visit; with `missing_ok`, skip those that this kernel or namespace lacks.

        Raises: Unsupported, NotPermitted.
        """
        paths = {_sysctl_path(key): value for key, value in values.items()}

        def write() -> None:
            for path, value in paths.items():
                try:
                    with open(path, "w", encoding="ascii") as f:
                        f.write(value)
                except FileNotFoundError:
                    if not missing_ok:
                        raise Unsupported(path, f"there is no {path} in the lab's namespace") from None
                except PermissionError:
                    if not missing_ok:
                        raise NotPermitted(f"writing {path} is refused", hint="run as root") from None

        self.run(write)

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
        text: bool = True,
    ) -> subprocess.Popen[Any]:
        """Start a command inside the namespace. It dies with the lab, and with this process, SIGKILL included."""
        words = _findable(command)
        if not words or shutil.which(words[0]) is None:
            raise LabError(f"{words[0] if words else ''!r}: no such command")
        return self.start(["exec", *words], stdin=stdin, stdout=stdout, stderr=stderr, env=env, text=text)

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start `child.py` in a role (its words after the parent's pid); the lab ends it. Internal to the lab."""
        self.netns_fd  # noqa: B018 - raises once closed
        argv = [*_CHILD, words[0], str(os.getpid()), *words[1:]]
        process: subprocess.Popen[Any] = self._keeper.call(lambda: subprocess.Popen(argv, **options))
        self._children.add(process)
        return process

    def set_up(self, command: Sequence[str], input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself inside the namespace, as `exec` does but sooner. Internal to the lab.

        Run directly, without `child.py`: if this process is killed meanwhile, the command still runs to its end.

        Raises: LabError when there is no such command, or it takes longer than 30 seconds.
        """
        words = _findable(command)
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        try:
            return self.run(
                lambda: subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, **given)
            )
        except FileNotFoundError:
            raise LabError(f"{words[0]!r}: no such command") from None
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(words)} did not end within 30 s") from None

    def end(self, process: subprocess.Popen[Any], within_s: float = _ENDS_WITHIN_S) -> None:
        """End a child of `spawn` or `start`: SIGTERM, then SIGKILL. It may have ended already."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        self._children.discard(process)

    def exec(
        self, command: Sequence[str], *, timeout: float = 30.0, input: str | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the namespace to its end, with its output as text.

        Raises: LabError when there is no such command, it takes longer than `timeout` seconds, or, with `check`, fails.
        """
        process = self.spawn(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(command)} did not end within {timeout:g} s") from None
        finally:
            self.end(process)
        if check and process.returncode:
            raise LabError(f"{' '.join(command)} failed: {err.strip() or f'exit code {process.returncode}'}")
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def close(self) -> None:
        """End the host's children by PID, and close the namespace."""
        if self._fd < 0:
            return
        for process in list(self._children):
            self.end(process)
        self._keeper.close()
        os.close(self._fd)
        self._fd = -1


def _findable(command: Sequence[str]) -> list[str]:
    """The command, with its full path if it is only on root's PATH."""
    words = list(command)
    if words and shutil.which(words[0]) is None:
        words[0] = shutil.which(words[0], path=_SYSTEM_PLACES) or words[0]
    return words


def _sysctl_path(key: str) -> str:
    if not key.startswith("net.") or "/" in key or ".." in key:
        raise UsageError(f"{key!r} is not a setting of a network namespace", hint="as in net.ipv4.tcp_syncookies")
    return "/proc/sys/" + key.replace(".", "/")
