"""For the tests on a real kernel: the marker, the reason when they cannot run here, and a lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import workers

if TYPE_CHECKING:
    from closing_ends import Ends
    from halfopen.lab import Lab


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if workers.is_kernel_test(item)]
    refusal = workers.refusal() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.kernel)
        if refusal:
            item.add_marker(pytest.mark.skip(reason=refusal))
        elif item.get_closest_marker("root") and not workers.is_root(config):
            item.add_marker(pytest.mark.skip(reason="needs root: becomes other users, or changes more than a lab"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without root, become root of a user namespace: now, as pytest's watchdog is a thread and tests start more."""
    chosen = [item for item in session.items if workers.is_kernel_test(item)]
    if chosen and not session.config.option.collectonly and not workers.is_worker(session.config):
        workers.enter_user_namespace()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A fresh lab: two hosts joined by a wire, gone after the test."""
    from halfopen.lab import Lab

    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """A lab for all tests of a file, each of which looks at listeners of its own alone."""
    from halfopen.lab import Lab

    with Lab() as made:
        yield made


@pytest.fixture
def ends(lab: Lab) -> Iterator[Ends]:
    """Connections on the lab's server, of which the test holds both ends."""
    from closing_ends import Ends

    made = Ends(lab)
    yield made
    made.close()


@pytest.fixture
def space() -> Iterator[str]:
    """An empty namespace, by a path."""
    from halfopen.linux import netns

    fd = netns.create()
    yield f"/proc/{os.getpid()}/fd/{fd}"
    os.close(fd)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the journal of `tune` and the audit log are, for this process and for commands: never the machine's own."""
    directory = tmp_path / "state"
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(directory))
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(tmp_path / "audit" / "audit.jsonl"))
    return directory
