"""Without root, with just the capabilities that doctor names: what they grant works, what they do not is said."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import capabilities

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def with_capabilities(lab: Lab, granted: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run halfopen as nobody in the server's namespace, with these capabilities and no others."""
    variables = capabilities.environment_of_nobody(HALFOPEN_AUDIT_LOG=os.devnull)
    assigned = [f"{name}={value}" for name, value in variables.items()]
    as_nobody = capabilities.command(*words, capabilities=tuple(granted.split()))
    return lab.server.exec(["env", "-i", "-C", "/", *assigned, *as_nobody])


def status(lab: Lab, granted: str) -> dict[str, Any]:
    done = with_capabilities(lab, granted, "status", "--json")
    assert done.returncode == 0, done.stderr
    namespaces: list[dict[str, Any]] = json.loads(done.stdout)["namespaces"]
    return namespaces[0]


@pytest.mark.parametrize("granted", ["", "bpf", "bpf perfmon", "bpf perfmon net_admin"])
def test_readings(lab: Lab, granted: str) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 23).settled()
    there = status(lab, granted)
    exact = "perfmon" in granted
    assert there["half_open"] == 23
    assert there["completeness"]["source"] == ("bpf" if exact else "diag")
    assert there["listeners"][0]["syn_queue"] == (23 if exact else None)
    said = " ".join(there["completeness"]["notes"])
    assert ("the eBPF program census is refused" in said) is not exact
    doctor = json.loads(with_capabilities(lab, granted, "doctor", "--json").stdout)
    features = {f["id"]: f["outcome"] for f in doctor["features"]}
    assert (features["bpf:census"] == "yes") is (features["bpf:pulse"] == "yes") is exact
    assert (features["bpf:door"] == "yes") is (features["release"] == "yes") is ("net_admin" in granted)


@pytest.mark.parametrize(("granted", "code"), [("bpf perfmon", 3), ("net_admin", 0)])
def test_a_watch_that_could_not_release_does_not_begin(lab: Lab, granted: str, code: int) -> None:
    lab.server.listen(8080)
    words = ("watch", "--release-older-than", "15s", "--interval", "50ms", "--count", "1", "--json")
    done = with_capabilities(lab, granted, *words)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert "releasing connections is refused" in line
        assert "CAP_NET_ADMIN" in line
    else:
        assert "reading" in done.stdout


@pytest.mark.parametrize("granted", ["net_admin", "bpf perfmon net_admin"], ids=["nf_tables", "eBPF"])
def test_releases(lab: Lab, granted: str) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 23).settled()
    done = with_capabilities(lab, granted, "release", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    # Without eBPF and without a look at the listener's options they might be deferred ones, had there ever been any.
    assert (said["released"], said["spared"]) == (23, 0)
    assert said["namespaces"][0]["held"] is True


def test_a_release_without_the_privilege_is_one_line(lab: Lab) -> None:
    done = with_capabilities(lab, "bpf perfmon", "release", "--all", "--yes")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "CAP_NET_ADMIN" in done.stderr


def test_who_is_hidden_by_hidepid_is_said_with_the_command_that_shows_it(lab: Lab) -> None:
    lab.server.listen(8080)
    variables = capabilities.environment_of_nobody()
    assigned = [f"{name}={value}" for name, value in variables.items()]
    as_nobody = ["env", "-i", "-C", "/", *assigned, *capabilities.command("status")]
    hide = 'mount -t proc -o hidepid=2 proc /proc; exec "$@"'
    done = lab.server.exec(["unshare", "--mount", "sh", "-ec", hide, "sh", *as_nobody])
    assert done.returncode == 0, done.stderr
    assert (
        "the listening process is hidden for 1 of 1 listener: run as root to see it (sudo halfopen status)"
        in done.stdout
    )
