"""Less privilege, less kernel: what can be shown is shown, what is missing is said, and what cannot be done says
why.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import capabilities
import halfopen
from halfopen.change import destroy
from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.lab.wiring import SERVER
from halfopen.linux import netns
from halfopen.read import head, procfs, reader, requests, sockdiag
from run import halfopen as command
from run import one_line

if TYPE_CHECKING:
    import subprocess

    from halfopen.lab import Lab


def as_nobody(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Run halfopen inside the server's namespace without any privilege."""
    variables = [f"{k}={v}" for k, v in capabilities.environment_of_nobody().items()]
    return lab.server.exec(["env", "-i", "-C", "/", *variables, *capabilities.command(*words)])


@pytest.fixture
def flooded(lab: Lab) -> Lab:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 23).settled()
    return lab


def test_proc_says_the_same_and_says_that_it_is_degraded(flooded: Lab) -> None:
    web6 = flooded.server.listen(8081, address="::")
    flooded.client.half_open(web6, 5, family=6).settled()
    flooded.client.half_open(web6, 6, family=4)
    flooded.settle(34)
    ns = netns.resolve(flooded.server.netns_path)
    exact = reader.read(ns, [requests.probe(rows=True)], way="diag")
    degraded = reader.read(ns, [requests.probe(rows=True)], way="proc")
    took_s = time.monotonic() - exact.monotonic_s
    assert exact.completeness.whole
    assert not degraded.completeness.whole
    assert "/proc/net/tcp" in degraded.completeness.problems[0]
    names = ["family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low"]
    order = np.argsort(exact.requests, order=names), np.argsort(degraded.requests, order=names)
    for name in [*names, "state"]:
        assert (exact.requests[name][order[0]] == degraded.requests[name][order[1]]).all(), name
    ages = build(exact).ages_s[order[0]], build(degraded).ages_s[order[1]]
    assert np.abs(ages[0] - ages[1]).max() <= 0.05 + took_s
    assert build(degraded).half_open == 34
    assert build(degraded).listeners[0].syn_queue_limit is None


@pytest.mark.parametrize("error", [Unsupported("tcp_diag", "the kernel has no tcp_diag"), NotPermitted("refused")])
def test_without_netlink_the_reading_falls_back_and_says_why(
    flooded: Lab, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse() -> None:
        raise error

    for module in (head, requests, destroy):
        monkeypatch.setattr(module, "open_sock_diag", refuse)
    model = halfopen.snapshot(flooded.server.netns_path)
    assert model.half_open == 23
    assert str(error) in model.sample.completeness.problems[0]
    with pytest.raises(type(error)):
        halfopen.release(all=True, netns=flooded.server.netns_path, dry_run=True)


def test_an_interrupted_dump_is_said(flooded: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sockdiag.read

    def shaken(*args: Any) -> sockdiag.Walk:
        return sockdiag.Walk(whole(*args).full, True)

    monkeypatch.setattr(sockdiag, "read", shaken)
    sample = halfopen.sample(flooded.server.netns_path, source="diag")
    assert sample.completeness.interrupted
    assert not sample.completeness.whole


@pytest.mark.root
def test_nobody_sees_and_is_told_what_is_missing(flooded: Lab) -> None:
    done = as_nobody(flooded, "status")
    assert done.returncode == 0, done.stderr
    assert "23 half-open connections" in done.stdout.splitlines()[0]
    assert "run as root" in done.stdout


@pytest.mark.root
@pytest.mark.parametrize("words", ["closing", "memory"])
def test_nobody_is_not_told_of_queues_where_none_is_shown(lab: Lab, words: str) -> None:
    with lab.server.run(lambda: socket.create_server((SERVER.v4, 8080))) as web:
        client = lab.client.run(lambda: socket.create_connection((SERVER.v4, 8080)))
        with client, web.accept()[0]:
            done = as_nobody(lab, words)
    assert done.returncode == 0, done.stderr
    assert "SYN queues" not in done.stdout
    assert "ages are estimated" not in done.stdout
    # Who holds it is hidden: that is told, and how to see it.
    assert "no process was found for 1 connection, as" in done.stdout
    assert "run as root" in done.stdout
    if words == "memory":
        assert done.stdout.splitlines()[-1].startswith("Next  sudo ")


@pytest.mark.root
def test_nobody_releases_nothing(flooded: Lab) -> None:
    for words in (("--all", "--yes"), ("--all", "--dry-run")):
        line = one_line(as_nobody(flooded, "release", *words, "--audit-log", "/dev/null"), 3)
        assert "CAP_NET_ADMIN" in line
    assert flooded.server.half_open() == 23


@pytest.mark.root
def test_nobody_enters_no_other_namespace(flooded: Lab) -> None:
    assert "root" in one_line(as_nobody(flooded, "status", "--netns", "pid:1"), 3)


@pytest.mark.root
def test_records_without_cap_net_admin_are_read_too(flooded: Lab) -> None:
    # Without the capability the kernel leaves out INET_DIAG_MARK: 88 bytes instead of 96.
    done = as_nobody(flooded, "list", "--format", "csv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 24


def test_no_socket_to_destroy_is_not_an_error(lab: Lab) -> None:
    lab.server.listen(8080)
    done = command("release", "--netns", lab.server.netns_path, "--all", "--yes", "--audit-log", "/dev/null")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 half-open connections released")


def test_proc_without_ipv6(flooded: Lab) -> None:
    requests, listeners, full = flooded.server.run(procfs.sockets)
    assert (len(requests), len(listeners), full) == (23, 1, 0)


@pytest.mark.parametrize("damage", ["garbage", "ENOBUFS"])
def test_a_dump_that_breaks_off_is_never_a_silent_smaller_number(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    web = lab.server.listen(8080, backlog=50_000)
    lab.client.half_open(web, 20_000).settled()
    whole = sockdiag.receive

    def breaking(s: socket.socket, request: bytes, **options: int) -> Iterator[memoryview]:
        for i, piece in enumerate(whole(s, request, **options)):
            breaks = i == 1 and options  # the dump of the listeners has no options
            if breaks and damage == "ENOBUFS":
                raise KernelError("the sock_diag dump", errno.ENOBUFS)
            yield memoryview(b"\xff" * 64) if breaks else piece

    monkeypatch.setattr(sockdiag, "receive", breaking)
    model = halfopen.snapshot(lab.server.netns_path, source="diag")
    assert 0 < model.half_open < 20_000
    assert not model.sample.completeness.whole
    assert "there are more than" in model.sample.completeness.problems[0]
    verdict = judge(model)
    assert any(f.id == "incomplete-reading" and f.level is Level.WARNING for f in verdict.findings)
