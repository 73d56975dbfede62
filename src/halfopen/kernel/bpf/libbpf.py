"""The system's libbpf (1.0 or newer) through ctypes: only what is used of it, its messages turned into our errors."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import lru_cache
from typing import Any, Final

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Unsupported

_SONAME: Final = "libbpf.so.1"
_LINE_BYTES: Final = 64 * 1024
GRANT: Final = "run as root, or with CAP_BPF and CAP_PERFMON"

# (result, arguments) of each function; a pointer that libbpf owns is c_void_p.
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_version_string": (c_char_p, ()),
    "bpf_object__open_mem": (c_void_p, (c_void_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__attach_cgroup": (c_void_p, (c_void_p, c_int)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_prog_get_next_id": (c_int, (c_uint32, POINTER(c_uint32))),
    "libbpf_num_possible_cpus": (c_int, ()),
    "btf__find_by_name_kind": (ctypes.c_int32, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__resolve_size": (ctypes.c_int64, (c_void_p, c_uint32)),
}

_said = threading.local()


def _hear() -> Any:
    """The print callback: what libbpf says is kept for the error it may lead to."""
    libc = ctypes.CDLL(None)
    libc.vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)

    # A va_list is handed on as the pointer that it is, or is passed as, on all of Linux's 64-bit architectures.
    @CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
    def hear(level: int, template: bytes, arguments: int) -> int:
        lines: list[str] | None = getattr(_said, "lines", None)
        if lines is not None and level <= 1:
            buffer = ctypes.create_string_buffer(_LINE_BYTES)
            libc.vsnprintf(buffer, _LINE_BYTES, template, arguments)
            lines.append(buffer.value.decode(errors="replace"))
        return 0

    return hear


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """libbpf, ready to use. Raises: Unsupported when this machine has none that is new enough."""
    try:
        lib = ctypes.CDLL(_SONAME, use_errno=True)
    except OSError:
        raise Unsupported("libbpf", "no libbpf 1.x on this machine", hint="apt-get install libbpf1") from None
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise Unsupported("libbpf", f"the libbpf of this machine lacks {name}") from None
        function.restype, function.argtypes = result, arguments
    hear = _hear()
    lib.libbpf_set_print(ctypes.cast(hear, c_void_p))
    lib.halfopen_keeps = hear
    return lib


def version() -> str:
    """libbpf's version, as in "1.1". Raises: Unsupported."""
    text: bytes = library().libbpf_version_string()
    return text.decode().removeprefix("v")


class Heard:
    """Keeps what libbpf says to this thread while it is open."""

    def __enter__(self) -> list[str]:
        _said.lines = []
        lines: list[str] = _said.lines
        return lines

    def __exit__(self, *_: object) -> None:
        _said.lines = None


# What of a verifier's log or of libbpf's chatter tells why, the most telling first.
_TELLING: Final = (
    "unknown func",
    "invalid ",
    "R1 ",
    "failed to find",
    "not allowed",
    "Operation not permitted",
    "permission",
    "cannot ",
    "not supported",
    "failed: ",
    "failed",
)
_NOISE: Final = (
    "processed ",
    "verification time",
    "stack depth",
    "BEGIN PROG LOAD LOG",
    "END PROG LOAD LOG",
    "max_states",
)


def telling(lines: list[str], most: int = 2) -> str:
    """The lines that say why a program was refused, in one line: at most `most` of them, 200 characters each."""
    flat = [line.strip().removeprefix("libbpf: ") for text in lines for line in text.splitlines()]
    flat = [line for line in flat if line and not any(word in line for word in _NOISE)]
    found: list[str] = []
    for word in _TELLING:
        for line in flat:
            if word in line and line not in found:
                found.append(line)
        if len(found) >= most:
            break
    return "; ".join(line[:200] for line in (found or flat[-1:])[:most])


def failure(what: str, code: int, lines: list[str]) -> HalfopenError:
    """The error for a call of libbpf that answered `code` (an errno) about the program or map `what`."""
    why = telling(lines)
    if code in (errno.EPERM, errno.EACCES) and not _verified(lines):
        return NotPermitted(f"loading the eBPF program {what} is refused", hint=GRANT)
    if code in (errno.EINVAL, errno.EACCES, errno.ENOENT, errno.ESRCH, errno.EOPNOTSUPP, errno.ENOTSUP, errno.E2BIG):
        return Unsupported(
            f"bpf:{what}", f"this kernel does not take the eBPF program {what}{f' ({why})' if why else ''}"
        )
    return KernelError(f"loading the eBPF program {what}", code, why or os.strerror(code))


def _verified(lines: list[str]) -> bool:
    """Whether the verifier got to look at a program: then a refusal is about the program, not about who loads it."""
    return any("BEGIN PROG LOAD LOG" in line for line in lines)
