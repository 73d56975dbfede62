"""Real programs that do not accept: which process is named, and why."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import halfopen
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import judge
from halfopen.lab import Lab
from halfopen.lab.scenes.programs import App, Serving
from halfopen.ops.looks import looks
from peers import until

BACKLOG = 16


def worst(lab: Lab) -> Finding:
    """What `status` names first."""
    [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)])
    return judge(seen.now, seen.before, seen.interval_s).findings[0]


@contextmanager
def program(lab: Lab, clients: int, **asked: Any) -> Iterator[tuple[App, Callable[[], None]]]:
    """A server program in the lab, so many clients that have begun to connect, and what has as many more begin."""
    app = App(lab.server, Serving(8080, "0.0.0.0", BACKLOG, **asked))
    made: list[socket.socket] = []

    def connect() -> None:
        for _ in range(clients):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((lab.server.v4, app.port))
            made.append(s)

    try:
        if asked.get("workers"):
            app.stop(0)
        lab.client.run(connect)
        yield app, lambda: lab.client.run(connect)
    finally:
        for s in made:
            s.close()
        app.end()


def waiting(lab: Lab) -> int:
    return halfopen.snapshot(lab.server.netns_path, owners=False).listeners[0].accept_queue


def test_the_stopped_worker_is_named_early_and_not_its_arbiter(lab: Lab) -> None:
    with program(lab, 3, workers=1) as (app, _):
        until(lambda: waiting(lab) == 3)
        found = worst(lab)
        assert (found.id, found.text("why"), found.count("accepted_at_most")) == ("app-not-accepting", "stopped", 0)
        assert found.count("pid") == app.pids[0] != app.arbiter
        app.go_on()
        until(lambda: waiting(lab) == 0)
        [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)])
        assert judge(seen.now, seen.before).findings == ()


def test_a_program_without_descriptors(lab: Lab) -> None:
    with program(lab, 8, nofile=30) as (app, more):

        def full() -> bool:
            more()
            return waiting(lab) == BACKLOG + 1

        until(full)
        found = worst(lab)
        assert (found.id, found.text("why")) == ("app-not-accepting", "out-of-descriptors")
        assert (found.count("descriptors"), found.fact("descriptors").limit) == (30, 30)
        assert found.count("pid") == app.pids[0]


def test_a_program_that_waits_for_something_else(lab: Lab) -> None:
    with program(lab, 3, mode="block"):
        until(lambda: waiting(lab) == 3)
        found = worst(lab)
        assert (found.id, found.text("why"), found.text("waits_in")) == (
            *("app-not-accepting", "blocked"),
            "hrtimer_nanosleep",
        )


@pytest.mark.root
def test_the_connection_that_is_accepted_next(lab: Lab) -> None:
    """It stays while nobody accepts, whatever else comes, and another one follows it."""
    listener = lab.server.run(lambda: socket.create_server((lab.server.v4, 9000), backlog=8))
    others = lab.server.run(lambda: socket.create_server((lab.server.v4, 9001), backlog=8))

    def oldest() -> tuple[int, float]:
        sample = halfopen.snapshot(lab.server.netns_path, owners=False).sample
        assert sample.queues is not None
        row = sample.queues[sample.listeners["port"].tolist().index(9000)]
        return int(row["oldest_isn"]), sample.monotonic_s - int(row["oldest_us"]) / 1e6

    with listener, others:
        assert oldest()[0] == 0
        clients = [lab.client.run(lambda: socket.create_connection((lab.server.v4, 9000))) for _ in range(2)]
        until(lambda: waiting(lab) >= 1)
        first, age_s = oldest()
        assert first != 0
        assert 0 <= age_s < 30
        clients.append(lab.client.run(lambda: socket.create_connection((lab.server.v4, 9001))))
        assert oldest()[0] == first
        listener.accept()[0].close()
        second = oldest()[0]
        assert second not in (0, first)
        listener.accept()[0].close()
        assert oldest()[0] == 0
        for client in clients:
            client.close()
