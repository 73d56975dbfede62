"""Of a verifier's log, the line that tells. The logs are real: libbpf 1.1 on Linux 6.18, on programs made to fail."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.linux.bpf.libbpf import failure, telling

LOGS = Path(__file__).resolve().parents[2] / "golden" / "verifier"

# Log → errno it came with, and what tells.
TELLING = {
    "oob": (errno.EACCES, "oob: invalid bpf_context access off=4096 size=4"),
    "nullptr": (errno.EACCES, "nullptr: R0 invalid mem access 'map_value_or_null'"),
    "helper": (errno.EINVAL, "helper: invalid func unknown#9999"),
    "helper2": (errno.EINVAL, "helper2: program of this type cannot use helper bpf_redirect#23"),
    "field": (
        errno.EINVAL,
        "field: failed to resolve CO-RE relocation <byte_off> [14] struct seq_file.there_is_no_such_field "
        "(0:0 @ offset 0)",
    ),
    "func": (errno.ESRCH, "func: failed to find kernel BTF type ID of 'no_such_function_anywhere': -3"),
    # Linux 5.15, and a program of ours. That the kernel's types are there is no reason, though it is said first.
    "ksym": (errno.EINVAL, "extern (func ksym) 'bpf_rdonly_cast': not found in kernel or module BTFs"),
    # Linux 5.4, and a program of ours: that libbpf tries again is no reason.
    "map": (errno.EINVAL, "map 'bits': failed to create: Invalid argument(-22)"),
    # A million instructions: the log is cut short, the verdict with it.
    "loop": (errno.E2BIG, "loop: BPF program load failed: Argument list too long"),
    # The kernel dislikes a type first; libbpf goes on without, and fails for another reason.
    "big": (errno.EINVAL, "map 'm': failed to create: Invalid argument(-22)"),
}


def messages(name: str) -> list[str]:
    """The messages of a log, as libbpf's callback gets them."""
    text = (LOGS / f"{name}.log").read_text()
    return [f"libbpf: {part}" for part in text.split("libbpf: ") if part]


def test_every_log_is_read() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == TELLING.keys()


@pytest.mark.parametrize("name", TELLING)
def test_the_telling_line(name: str) -> None:
    code, line = TELLING[name]
    assert telling(messages(name)) == line
    error = failure(name, code, messages(name))
    assert isinstance(error, Unsupported)
    assert error.message == f"this kernel does not take the eBPF program {name} ({line})"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_refused_before_the_verifier_looked_is_a_matter_of_privilege(code: int) -> None:
    lines = ["libbpf: prog 'x': BPF program load failed: Permission denied\n", "libbpf: failed to load object 'x'\n"]
    assert isinstance(failure("x", code, lines), NotPermitted)


def test_what_nobody_expects_is_told_with_its_errno() -> None:
    error = failure("x", errno.ENOMEM, ["libbpf: map 'm': failed to create: Cannot allocate memory(-12)\n"])
    assert isinstance(error, KernelError)
    assert "ENOMEM" in error.message
    assert "map 'm'" in error.message


def test_nothing_said_is_nothing_told() -> None:
    assert telling([]) == ""
    assert failure("x", errno.EINVAL, []).message == "this kernel does not take the eBPF program x"


def test_a_line_is_cut() -> None:
    assert len(telling(["libbpf: " + "a" * 1000])) == 200
