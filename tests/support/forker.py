"""The process that `forked` forks commands from: it has imported all of halfopen, and has one thread.

Run with the number of a socket. Each message is an order, with the descriptors of a command's standard input, output
and error, and of a pipe for what becomes of it: its process id, and its exit code when it has ended.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import sys
import threading
from typing import NoReturn

import halfopen
from halfopen.cli import entry

ORDER = 1 << 20  # bytes


def import_all() -> None:
    """Import what commands import; `lab` and `demo` import more than the others, and are rarely asked for."""
    for module in pkgutil.walk_packages(halfopen.__path__, "halfopen."):
        if not module.name.startswith(("halfopen.lab", "halfopen.cli.demo", "halfopen.__main__")):
            importlib.import_module(module.name)
    for name in ("numpy", "msgspec", "rich.console"):
        importlib.import_module(name)


def serve(control: socket.socket) -> None:
    """Carry out orders until nobody can give one any more."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for fd in select.select([control.fileno(), *running], [], [])[0]:
            if fd in running:
                pid, told = running.pop(fd)
                os.close(fd)
                tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                continue
            message, given, *_ = socket.recv_fds(control, ORDER, 4)
            if not message:
                return
            told = given.pop()
            if not (pid := os.fork()):
                control.close()
                for mine in (told, *running, *(told for _, told in running.values())):
                    os.close(mine)
                command(json.loads(message), given)
            for file in given:
                os.close(file)
            tell(told, pid)
            running[os.pidfd_open(pid)] = (pid, told)


def tell(told: int, number: int) -> None:
    try:
        os.write(told, b"%d\n" % number)
    except BrokenPipeError:  # who gave the order has gone
        pass


def command(order: dict[str, object], files: list[int]) -> None:
    """In a child: become the command."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    # As the interpreter makes them: what a stream is, a file or a pipe, is asked once.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        made = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    sys.stderr.reconfigure(line_buffering=True)
    if order["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    os.umask(order["umask"])
    sys.argv = ["halfopen", *order["words"]]
    try:
        entry.main()
    except SystemExit as e:
        end(e.code)


def end(code: int) -> NoReturn:
    """End as an interpreter does, without taking apart all that was imported: each page of it would be copied first,
    which costs more than many a command. So do the processes of `multiprocessing`.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[0] = ""  # as for what is run with -m
    control = socket.socket(fileno=int(sys.argv[1]))
    import_all()
    assert len(os.listdir("/proc/self/task")) == 1
    gc.freeze()
    serve(control)
