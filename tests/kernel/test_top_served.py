"""The live screen of somebody without any privilege, fed by a service that has them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import capabilities
from halfopen.lab import Lab
from halfopen.service import client
from peers import until
from screens import screen
from terminal import Terminal, terminal

pytestmark = [pytest.mark.root, pytest.mark.slow]

HAS = ("bpf", "perfmon", "net_admin", "sys_ptrace")


@pytest.fixture
def control() -> Iterator[str]:
    """The path of a control socket that anybody may make."""
    place = tempfile.mkdtemp(prefix="halfopen-top-served-")
    os.chmod(place, 0o777)
    yield f"{place}/control.sock"
    shutil.rmtree(place)


def inside(lab: Lab, *words: str) -> list[str]:
    return ["nsenter", f"--net={lab.server.netns_path}", *words]


@contextmanager
def service(lab: Lab, control: str, *more: str, has: tuple[str, ...] = HAS) -> Iterator[subprocess.Popen[bytes]]:
    """A service of the user nobody, with the capabilities of the unit."""
    words = inside(lab, *capabilities.command("watch", "--as-service", *more, capabilities=has))
    env = capabilities.environment_of_nobody(HALFOPEN_CONTROL=control)
    running = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, cwd="/")
    try:
        until(lambda: _health(control).get("readings"), timeout=60)
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=60)


def _health(control: str) -> Any:
    return client.ask(control, {"command": "health"}) or {}


def seen(t: Terminal) -> str:
    return "\n".join(screen(t.read(), 100, 40))


def test_without_privileges_everything_is_seen_and_nothing_changed(lab: Lab, control: str) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 60).settled()
    start = tuple(inside(lab, *capabilities.command()))
    env = dict(capabilities.environment_of_nobody(HALFOPEN_CONTROL=control, TERM="xterm-256color"))
    with service(lab, control) as running, terminal("top", start=start, **env) as t:
        until(lambda: "60 half-open connections" in seen(t), timeout=60)
        first = seen(t).splitlines()[0]
        assert "service, every 1 s" in first
        # What only eBPF reads: the SYN queue. And who listens, whose descriptors this user may not see.
        assert "60/128" in seen(t)
        assert not [line for line in seen(t).splitlines() if "CAP_" in line]
        t.answer("r")
        until(lambda: "Only root can change anything from this screen" in seen(t))
        assert "run sudo halfopen top" in seen(t)
        t.answer("\r")
        until(lambda: "Age of half-open connections" in seen(t))
        t.answer("q")
        # A service that ends is missed, and found again.
        running.send_signal(signal.SIGINT)
        running.wait(timeout=60)
        until(lambda: "the halfopen service is gone" in seen(t), timeout=30)
        assert seen(t).count("the halfopen service is gone") == 1
        with service(lab, control):
            until(lambda: "is gone" not in seen(t), timeout=30)
            t.answer("q")
            assert t.wait() == 0
    assert lab.server.half_open() == 60


def test_where_it_may_not_be_asked_the_screen_says_so_and_reads_itself(lab: Lab, control: str) -> None:
    lab.server.listen(8080)
    stranger = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
    env = dict(capabilities.environment_of_nobody(HALFOPEN_CONTROL=control, TERM="xterm-256color"))
    python = capabilities.command()[-3:]
    with service(lab, control):
        with terminal("top", start=tuple(inside(lab, *stranger, *python)), **env) as t:
            until(lambda: ":8080" in seen(t), timeout=60)
            text = " ".join(seen(t).split())
            assert "only root and members of the group halfopen may ask the service" in text
            assert "This screen reads the kernel itself" in text
            assert "service" not in seen(t).splitlines()[0]
            t.answer("q")
            assert t.wait() == 0
        with terminal("top", "--direct", start=tuple(inside(lab, *python)), **env) as t:
            until(lambda: ":8080" in seen(t), timeout=60)
            assert "every 1 s" in seen(t).splitlines()[0]
            assert "service" not in seen(t).splitlines()[0]
            t.answer("q")
            assert t.wait() == 0


def test_n_shows_every_namespace_where_the_service_reads_them(lab: Lab, control: str) -> None:
    lab.server.listen(8080)
    start = tuple(inside(lab, *capabilities.command()))
    env = dict(capabilities.environment_of_nobody(HALFOPEN_CONTROL=control, TERM="xterm-256color"))
    every = service(lab, control, "--netns", "all", has=(*HAS, "sys_admin", "dac_read_search"))
    with Lab() as other, every, terminal("top", start=start, **env) as t:
        other.client.half_open(other.server.listen(8181), 59).settled()
        until(lambda: "1 listener, by half-open" in seen(t), timeout=60)
        assert "n namespaces" in seen(t).splitlines()[-1]
        t.answer("n")
        until(lambda: re.search(r"[0-9]+ network namespaces", seen(t).splitlines()[0]), timeout=30)
        until(lambda: "59/128 :8181" in seen(t), timeout=30)
        t.answer("q")
        assert t.wait() == 0


def test_of_a_service_that_reads_one_namespace_the_screen_of_all_says_so(lab: Lab, control: str) -> None:
    lab.server.listen(8080)
    start = tuple(inside(lab, *capabilities.command()))
    env = dict(capabilities.environment_of_nobody(HALFOPEN_CONTROL=control, TERM="xterm-256color"))
    with service(lab, control), terminal("top", "--netns", "all", start=start, **env) as t:
        until(lambda: "the service watches only its own network namespace" in " ".join(seen(t).split()), timeout=60)
        t.answer("q")
        assert t.wait() == 0
