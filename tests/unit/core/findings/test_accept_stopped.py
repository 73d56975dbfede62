"""A program that is stopped or frozen is named, with what makes it go on."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from accepting import WAITING, found_by, judged_by
from halfopen.core.findings.cures import (
    ContinueProcess,
    LookAtTracer,
    ThawProcess,
)
from halfopen.core.sample import Process
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener
from verdicts import second_look


def test_a_stopped_process_is_named_and_has_to_go_on() -> None:
    found, verdict = found_by(replace(WAITING, state="T"), unit="web.service")
    assert (found.text("why"), found.text("process"), found.count("pid")) == ("stopped", "web", 7)
    assert found.text("inside") == "web.service"
    assert verdict.next == ((ContinueProcess(7, "app-not-accepting"),),)


@pytest.mark.parametrize(
    ("tracer", "look"), [(0, "grep TracerPid /proc/7/status"), (99, "ps -fp 99")], ids=["out of sight", "seen"]
)
def test_one_that_a_debugger_stops_is_not_offered_sigcont_which_does_not_move_it(tracer: int, look: str) -> None:
    found, verdict = found_by(replace(WAITING, state="t", tracer=tracer))
    assert found.text("why") == "stopped"
    assert "is stopped by a debugger" + (f" (process {tracer})" if tracer else "") in say(found)
    assert verdict.next == ((LookAtTracer(7, tracer, "app-not-accepting"),),)
    assert command(verdict.next[0]) == look


FROZEN = "/sys/fs/cgroup/web/cgroup.freeze"
IN_USER = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service"
ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("frozen", "step"),
    [
        ("", "cat /proc/7/cgroup"),
        (FROZEN, f"echo 0 > {FROZEN}"),
        ("/sys/fs/cgroup/system.slice/web.service/cgroup.freeze", "systemctl thaw web.service"),
        (f"/sys/fs/cgroup{IN_USER}/cgroup.freeze", f"echo 0 > /sys/fs/cgroup{IN_USER}/cgroup.freeze"),
        ("/sys/fs/cgroup/freezer/a b/freezer.state", "echo THAWED > '/sys/fs/cgroup/freezer/a b/freezer.state'"),
    ],
    ids=["out of sight", "v2", "unit", "unit of a user", "v1"],
)
def test_a_process_that_the_freezer_stops_is_thawed(frozen: str, step: str) -> None:
    asleep = replace(WAITING, state="D", waits_in=("__refrigerator",), frozen=frozen)
    found, verdict = found_by(asleep)
    assert found.text("why") == "stopped"
    assert "is frozen (its cgroup is, as by docker pause or systemctl freeze)" in say(found)
    assert "let it go on, if that is not intended" in say(found)
    assert verdict.next == ((ThawProcess(7, frozen, "app-not-accepting"),),)
    assert command(verdict.next[0]) == step


@pytest.mark.parametrize(
    ("directory", "step"),
    [
        (f"system.slice/docker-{ID}.scope", "docker unpause shop"),
        (f"freezer/docker/{ID}", "docker unpause shop"),
        (f"machine.slice/libpod-{ID}.scope/container", "podman unpause shop"),
        (f"user.slice/user-7.slice/user@7.service/user.slice/libpod-{ID}.scope", None),
        (f"kubepods.slice/cri-containerd-{ID}.scope", None),
    ],
    ids=["docker", "docker, v1", "podman", "podman of a user", "Kubernetes"],
)
def test_a_paused_container_goes_on_by_its_runtime(directory: str, step: str | None) -> None:
    """A runtime that is passed over would go on to call it paused."""
    file = f"/sys/fs/cgroup/{directory}/{'freezer.state' if 'freezer' in directory else 'cgroup.freeze'}"
    frozen = replace(WAITING, frozen=file)
    owners = {1: (Process(7, "web", None, ID[:12], "shop"),)}
    full = listener(accept_queue=129, limit=128, cookie=5)
    verdict, _ = second_look([], full, owners=owners, workers=([frozen], [frozen]))
    assert command(verdict.next[0]) == (step or f"echo 0 > {file}")


def test_processes_of_one_frozen_cgroup_are_thawed_by_one_command() -> None:
    both = [replace(WAITING, pid=pid, frozen=FROZEN) for pid in (7, 8)]
    verdict, _ = judged_by(both, both)
    assert verdict.next == ((ThawProcess(7, FROZEN, "app-not-accepting"),),)
