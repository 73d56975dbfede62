"""Objects loaded ahead of their use: loaded once, given to whoever asks, their errors told then, nothing left over."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfopen.core.errors import KernelError, Unsupported
from halfopen.linux.bpf import bpf_object
from halfopen.linux.bpf.bpf_object import BpfObject
from halfopen.read.bpf import programs
from run import document, environment

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    programs.close()
    yield
    programs.close()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that called into libbpf to load something."""
    found: list[str] = []
    load = BpfObject._load

    def counted(self: BpfObject, *arguments: object) -> int:
        found.append(threading.current_thread().name)
        return load(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BpfObject, "_load", counted)
    return found


def test_what_was_begun_is_loaded_once_and_by_a_thread(loads: list[str]) -> None:
    bpf_object.preload("walk", "pulse")
    bpf_object.preload("walk")
    census, pulse = programs.census(), programs.pulse()
    assert sorted(loads) == ["halfopen-load-pulse", "halfopen-load-walk"]
    assert [len(part.rows) for part in census.read()] in ([], [0])
    assert pulse.read(0).dtype.names
    programs.begin()
    assert len(loads) == 2, "what is loaded already is not loaded again"


def test_what_was_begun_and_not_taken_goes(loads: list[str]) -> None:
    bpf_object.preload("walk")
    bpf_object.forget()
    assert bpf_object._ahead == {}
    bpf_object.take("walk").close()
    assert len(loads) == 2


def test_a_refusal_is_told_when_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bpf_object.REFUSE, "walk")
    bpf_object.preload("walk")
    with pytest.raises(Unsupported, match="switched off by HALFOPEN_REFUSE_BPF"):
        bpf_object.take("walk")


def test_without_a_thread_to_be_had_it_is_loaded_when_taken(monkeypatch: pytest.MonkeyPatch, loads: list[str]) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    bpf_object.preload("walk", "pulse")
    bpf_object.take("walk").close()
    assert loads == ["MainThread"]


def test_what_libbpf_says_is_heard_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loads: list[str]
) -> None:
    """The first try says nothing, as nearly all succeed; the reason comes from the second."""
    with pytest.raises(Unsupported, match=r"bits.*Invalid argument"):
        BpfObject("door", sizes={"bits": 0})
    assert len(loads) == 2
    (tmp_path / "walk.bpf.o").write_bytes(b"no object at all")
    monkeypatch.setattr(bpf_object, "OBJECTS", tmp_path)
    bpf_object.preload("walk")
    with pytest.raises(KernelError, match="not a proper ELF object"):
        bpf_object.take("walk")


@pytest.mark.parametrize("source", ["bpf", "diag", "proc"])
def test_a_command_ends_whichever_way_it_reads(source: str) -> None:
    assert document("status", "--read-by", source, "--json")["namespaces"][0]["completeness"]["source"] == source


_SHORT = """
import resource, sys
from halfopen.core.errors import HalfopenError, KernelError
from halfopen.read.bpf import programs; from halfopen.linux.bpf import bpf_object

with open("/proc/self/statm") as f:
    room = int(f.read().split()[0]) * resource.getpagesize() + int(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_AS)
for ask in (programs.pulse, programs.census):
    resource.setrlimit(resource.RLIMIT_AS, (room, hard))
    try:
        ask()
        print("loaded")
    except (KernelError, MemoryError) as e:
        print("too little", e)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    ask()
programs.close()
"""


@pytest.mark.parametrize("kib", [100, 1000, 8000])
def test_want_of_memory_is_not_remembered_as_a_refusal(kib: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SHORT, str(kib * 1024)], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "too little" in done.stdout
