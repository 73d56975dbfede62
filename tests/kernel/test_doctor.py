"""What doctor says is what then happens: as root, with some capabilities, with none, and with each program refused."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from typing import Any

import pytest

import capabilities
from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.linux import proc
from halfopen.linux.bpf import libbpf
from halfopen.linux.bpf.bpf_object import REFUSE
from halfopen.ops.doctor import PROGRAMS, examine
from halfopen.read import features
from run import document
from run import halfopen as command

EBPF = [f"bpf:{p.name}" for p in PROGRAMS] + [f"bpf:{p.name}.{part}" for p in PROGRAMS for part, _, _ in p.parts]
PARTS = {f"{p.name}.{part}" for p in PROGRAMS for part, _, _ in p.parts}
REFUSABLE = [name.removeprefix("bpf:") for name in EBPF]


def by_id(said: Any) -> dict[str, Any]:
    assert said["schema"] == "halfopen.doctor/1"
    return {feature["id"]: feature for feature in said["features"]}


# What each feature stands for, done: prints `feature ok`, or `feature` and the class of the error.
DO = """
import ctypes, os
from halfopen.core.errors import HalfopenError, NotPermitted
from halfopen.core.sample import REQUEST
from halfopen.linux import netns; from halfopen.read import reader, requests, sockdiag
from halfopen.read.bpf import census, handshakes, owners, pulse, walk; from halfopen.change import door, guard
from halfopen.change import destroy

def entering():
    fd = os.open(netns.SELF, os.O_RDONLY)
    try:
        # To enter the namespace one is in asks for the privileges that any other does.
        if ctypes.CDLL(None).setns(fd, 0): raise NotPermitted("setns")
    finally: os.close(fd)

def releasing():
    with destroy.open_socket() as s: destroy.probe(s)

def reading(kind, *words):
    with kind() as loaded: getattr(loaded, "read", lambda: None)()

for name, do in {
    "sock_diag": lambda: reader.read(None, [requests.probe()], way="diag"),
    "proc_net_tcp": lambda: reader.read(None, [requests.probe()], way="proc"),
    "release": releasing,
    "namespaces": entering,
    "bpf:pulse": lambda: reading(pulse.Pulse),
    "bpf:walk": lambda: list(walk.WalkCensus().read()),
    "bpf:census": lambda: list(census.IterCensus().read()),
    "bpf:owners": lambda: reading(owners.Owners),
    "bpf:handshakes": lambda: reading(handshakes.HandshakePrograms),
    "bpf:door": lambda: reading(door.Door),
    "bpf:guard": lambda: reading(guard.Guard),
}.items():
    try: do(); print(name, "ok")
    except HalfopenError as e: print(name, type(e).__name__)
"""

WHO = [
    (),
    ("bpf", "perfmon"),
    ("bpf", "perfmon", "net_admin"),
    ("bpf", "net_admin"),
    ("net_admin",),
    ("sys_admin",),
]


@cache
def as_nobody(held: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return capabilities.halfopen("doctor", "--json", capabilities=held)


@pytest.mark.root
@pytest.mark.parametrize("held", WHO, ids=lambda held: "+".join(held) or "nothing")
def test_doctor_is_right(held: tuple[str, ...]) -> None:
    done = as_nobody(held)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = by_id(json.loads(done.stdout))
    did = capabilities.python(DO, *held)
    assert did.returncode == 0, did.stderr
    outcomes = dict(line.split() for line in did.stdout.splitlines())
    assert len(outcomes) == 11
    for id, outcome in outcomes.items():
        assert said[id]["outcome"] == ("yes" if outcome == "ok" else "no"), (id, outcome, said[id])
        if outcome == "NotPermitted":
            names = {grant["name"] for grant in said[id]["grants"]}
            assert names
            assert names == set(said[id]["needs"]) - {f"CAP_{name.upper()}" for name in held}
    assert json.loads(done.stdout)["next"] == "sudo halfopen doctor"


@pytest.mark.root
@pytest.mark.parametrize(
    ("held", "works"),
    [
        ((), {"sock_diag", "proc_net_tcp"}),
        (("bpf", "perfmon"), {"sock_diag", "bpf:pulse", "bpf:walk", "bpf:census", "bpf:handshakes"}),
        (
            ("bpf", "perfmon", "net_admin"),
            {"release", "bpf:pulse", "bpf:walk", "bpf:census", "bpf:handshakes", "bpf:door", "bpf:guard"},
        ),
    ],
)
def test_what_the_documents_promise_for_these_capabilities(held: tuple[str, ...], works: set[str]) -> None:
    said = by_id(json.loads(as_nobody(held).stdout))
    assert {id for id in works if said[id]["outcome"] != "yes"} == set()
    if "net_admin" not in held:
        assert said["release"]["outcome"] == said["bpf:door"]["outcome"] == "no"


@pytest.mark.root
def test_a_listener_is_read_with_two_capabilities_as_with_all() -> None:
    done = capabilities.halfopen("status", "--json", "--read-by", "bpf", capabilities=("bpf", "perfmon"))
    assert done.returncode == 0, done.stderr
    (namespace,) = json.loads(done.stdout)["namespaces"]
    assert namespace["completeness"]["source"] == "bpf"


@pytest.mark.root
def test_as_root_everything_but_what_the_host_forbids() -> None:
    checkup = examine()
    unlike_yes = {f.id: f.why for f in checkup.features if f.outcome.value != "yes"}
    # Hooking functions is refused on some hosts, and looking into programs by PID namespaces and security modules.
    allowed = {f"bpf:{part}" for part in PARTS} | {"owners", "pidfd_getfd", "bpf_jit"}
    assert unlike_yes.keys() <= allowed, unlike_yes


@cache
def with_nothing_refused() -> dict[str, Any]:
    return by_id(document("doctor", "--json"))


@pytest.mark.parametrize("name", [*REFUSABLE, "all"])
def test_each_program_refused_is_told_and_the_product_answers(name: str) -> None:
    before = with_nothing_refused()
    said = by_id(document("doctor", "--json", env={REFUSE: name}))
    for id in EBPF:
        program = id.removeprefix("bpf:")
        if program in PARTS and before[f"bpf:{program.partition('.')[0]}"]["outcome"] != "yes":
            assert said[id]["outcome"] == "no"
        elif program == name or (name == "all" and program not in PARTS):
            assert said[id]["outcome"] == "no"
            assert REFUSE in said[id]["why"]
            assert {"kind": "setting", "command": f"unset {REFUSE}", "name": f"not naming it in {REFUSE}"} in (
                said[id]["grants"]
            )
        elif program.partition(".")[0] == name or name == "all":
            assert said[id]["outcome"] == "no"
            assert said[id]["why"] == f"the eBPF program {program.partition('.')[0]} does not load"
        else:
            assert said[id]["outcome"] == before[id]["outcome"], said[id]
    assert {id for id in said if not id.startswith("bpf:")} == {id for id in before if not id.startswith("bpf:")}
    for words in (["status", "--json"], ["list", "--json"]):
        done = command(*words, env={REFUSE: name})
        assert done.returncode == 0, done.stderr
    if name == "handshakes":
        done = command("handshakes", "--for", "0.1s", env={REFUSE: name})
        assert done.returncode == 3
        assert REFUSE in done.stderr


def test_the_answer_is_first_and_the_command_last() -> None:
    done = command("doctor", env={REFUSE: "all"})
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Half-open connections are read ")
    assert lines[0].endswith(f"0 of {len(EBPF)} eBPF programs load.")
    assert lines[-1] == f"Next  unset {REFUSE}"
    assert all(feature.id.removeprefix("bpf:") in done.stdout for feature in examine().features)


def test_nothing_is_missing_from_the_list() -> None:
    ids = [feature.id for feature in examine().features]
    assert len(ids) == len(set(ids))
    assert set(EBPF) < set(ids)
    first = [
        "sock_diag",
        "proc_net_tcp",
        "net_admin",
        "release",
        "nf_tables",
        "namespaces",
        "owners",
        "pidfd_getfd",
        "protect",
        "libbpf",
    ]
    assert ids[: len(first)] == first


@pytest.mark.parametrize(
    ("error", "outcome", "grants"),
    [
        (NotPermitted("no"), "no", {"capability", "host"}),
        (Unsupported("libbpf", "no libbpf"), "no", {"package"}),
        (Unsupported("btf", "no BTF"), "no", {"kernel"}),
        (Unsupported("SOCK_DESTROY", "cannot"), "no", {"kernel"}),
        (Unsupported("tcp_diag", "no tcp_diag"), "no", {"setting"}),
        (libbpf.failure("walk", 524, ["prog 'walk': JIT is required for calling kernel function"]), "no", {"setting"}),
        (Unsupported("cgroup2", "not seen"), "no", {"host"}),
        (Unsupported("bpf:pulse", "missing", hint="reinstall halfopen"), "no", {"package"}),
        (HalfopenError("kernel", "EIO"), "unknown", set()),
        (OSError(5, "Input/output error", "/proc/x"), "unknown", set()),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else str(value),  # the same in every process
)
def test_what_goes_wrong_has_a_grant_or_is_unknown(error: Exception, outcome: str, grants: set[str]) -> None:
    def work() -> str:
        raise error

    feature = features.tried("x", "trying", work, ("CAP_BPF",))
    assert feature.outcome.value == outcome
    assert feature.why
    assert {grant.kind for grant in feature.grants} <= grants
    assert bool(feature.grants) == bool(grants)


def test_in_a_user_namespace_no_capability_would_help_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "in_user_namespace", lambda: True)

    def work() -> str:
        raise NotPermitted("no")

    feature = features.tried("x", "trying", work, ("CAP_BPF",))
    assert feature.grants[-1].kind == "host"
    assert "user namespace" in feature.grants[-1].name


def test_no_libbpf_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.linux.bpf import libbpf
    from halfopen.read.bpf import programs

    # Programs that an earlier test of this process loaded would answer without libbpf.
    programs.close()
    monkeypatch.setattr(libbpf, "_SONAME", "libbpf.so.does-not-exist")
    libbpf.library.cache_clear()
    try:
        found = {feature.id: feature for feature in examine().features}
    finally:
        libbpf.library.cache_clear()
    for id in ["libbpf", *(f"bpf:{p.name}" for p in PROGRAMS)]:
        assert found[id].outcome.value == "no"
        assert found[id].why == "no libbpf 1.x on this machine"
        assert [grant.kind for grant in found[id].grants] == ["package"]
    assert found["sock_diag"].outcome.value == "yes"


def test_it_leaves_nothing_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    examine()
    assert set(os.listdir("/proc/self/fd")) == before
