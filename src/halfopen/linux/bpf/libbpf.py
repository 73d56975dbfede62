"""The system's libbpf (1.0 or newer) through ctypes: the functions we use, and its messages as our errors."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import lru_cache
from typing import Any, Final

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Unsupported
from halfopen.linux.libc import LIBC

_SONAME: Final = "libbpf.so.1"
# libbpf passes on the verifier's log as one message; the reason of a refusal is at its end.
_MESSAGE_BYTES: Final = 1024 * 1024
# ENOTSUPP of include/linux/errno.h, an errno that is internal to the kernel: the errno module does not have it.
_ENOTSUPP: Final = 524
_NOT_TAKEN: Final = (
    *(errno.EINVAL, errno.EACCES, errno.ENOENT, errno.ESRCH),
    *(errno.EOPNOTSUPP, errno.ENOTSUP, errno.E2BIG, errno.ENOSYS, _ENOTSUPP),
)
_SHORT: Final = re.compile(r"^libbpf: .*(: -12|: -ENOMEM|\(-12\))$", re.MULTILINE)
_NO_MEMORY: Final = "libbpf: no memory for its messages: -ENOMEM"
# libbpf logs this only as information, but it is the only message that says why.
_WHY_NO_BTF: Final = b"libbpf: loading kernel BTF"
GRANT: Final = "run as root, or with the capabilities that halfopen doctor names"

# (result, arguments) of each function; a pointer that libbpf owns is c_void_p.
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_version_string": (c_char_p, ()),
    "bpf_object__open_mem": (c_void_p, (c_void_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
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
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, ctypes.c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_prog_get_next_id": (c_int, (c_uint32, POINTER(c_uint32))),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_link_get_next_id": (c_int, (c_uint32, POINTER(c_uint32))),
    "bpf_link_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "libbpf_num_possible_cpus": (c_int, ()),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (ctypes.c_int32, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__resolve_size": (ctypes.c_int64, (c_void_p, c_uint32)),
}

_said = threading.local()
_hearing_lock: Final = threading.Lock()


def _hear() -> Any:
    """The print callback, which keeps libbpf's messages for the error that may follow."""
    print_to = LIBC.vsnprintf
    print_to.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)

    # A va_list is handed on as the pointer that it is, or is passed as, on all of Linux's 64-bit architectures.
    def hear(level: int, template: bytes, arguments: int) -> int:
        lines: list[str] | None = getattr(_said, "lines", None)
        if lines is not None and (level <= 1 or template.startswith(_WHY_NO_BTF)):
            try:
                print_to(_said.buffer, _MESSAGE_BYTES, template, arguments)
                lines.append(_said.buffer.value.decode(errors="replace"))
            except MemoryError:  # an exception cannot be raised through C
                lines.append(_NO_MEMORY)
        return 0

    return CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)(hear)


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """libbpf, ready to use. Raises: Unsupported when this machine has none that is new enough."""
    try:
        lib = ctypes.CDLL(_SONAME, use_errno=True)
    except OSError as e:
        # The dynamic loader reports words, not an errno, also if it lacks memory or descriptors.
        if "No such file" not in str(e):
            raise KernelError("loading libbpf", errno.ENOMEM, str(e)) from None
        raise Unsupported("libbpf", "no libbpf 1.x on this machine", hint="apt-get install libbpf1") from None
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise Unsupported("libbpf", f"the libbpf of this machine lacks {name}") from None
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(None)
    return lib


@lru_cache(maxsize=1)
def _hearing() -> Any:
    # The cache keeps the callback alive: C must not call a collected object.
    return _hear()


def version() -> str:
    """libbpf's version, as in "1.1". Raises: Unsupported."""
    text: bytes = library().libbpf_version_string()
    return text.decode().removeprefix("v")


class Heard:
    """Collects libbpf's messages to this thread while it is open; one thread at a time.

    Otherwise libbpf's messages are off: it logs hundreds of lines on success, and for each the thread would have to
    take the interpreter's lock. So slow calls are made silently, and repeated with messages only if they fail.
    """

    def __enter__(self) -> list[str]:
        _said.buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        hearing = ctypes.cast(_hearing(), c_void_p)
        _hearing_lock.acquire()
        _said.lines = []
        lines: list[str] = _said.lines
        library().libbpf_set_print(hearing)
        return lines

    def __exit__(self, *_: object) -> None:
        library().libbpf_set_print(None)
        _said.lines = _said.buffer = None
        _hearing_lock.release()


# Lines of a verifier's log that are instructions, states, source lines, statistics or hints. Any other line is a
# verdict.
_WALK: Final = re.compile(
    r"^(\d+: |from \d+ to \d+|;|processed \d|verification time|stack depth|max_states|mark_precise|last_idx|regs=|"
    r"parent |arg#|func '|func#|[Vv]alidating |R\d+(_w)?=|frame\d+:|caller:|callee:|safe$|propagating |"
    r"reg type unsupported)"
)
# Messages of libbpf that do not tell the cause of a failure.
_ASIDE: Final = re.compile(
    r"skipping|failed to load object|failed to load: -|failed to prepare load attributes|BTF is optional|"
    r"BTF loading error|BPF program load failed|Retrying without BTF|-- (BEGIN|END) "
)
# Also logged on success, before something else fails.
_BTF_IS_THERE: Final = re.compile(r"^loading kernel BTF '[^']*': 0$")
_PROGRAM: Final = re.compile(r"^prog '([^']*)': ")
_MOST: Final = 200


def telling(lines: list[str]) -> str:
    """The line among libbpf's messages that says why a program was refused, at most 200 characters; empty if none does.

    It is the verifier's last line if the verifier saw the program, otherwise libbpf's first complaint.
    """
    program, verdict, log = "", "", ""
    own: list[str] = []
    others: list[str] = []
    for said in (line.strip() for text in lines for line in text.splitlines()):
        line = said.removeprefix("libbpf: ")
        if _BTF_IS_THERE.match(line):
            continue
        named = _PROGRAM.match(line)
        if "-- BEGIN " in line:
            log = "program" if "PROG LOAD" in line else "types"
            program = named[1] if named else program
        elif line != said or line.startswith("-- END "):
            log = ""  # the end of a long log is cut off
        if log == "program" and line and not _ASIDE.search(line) and not _WALK.match(line):
            verdict = line
        elif not log and line:
            (others if _ASIDE.search(line) else own).append(_PROGRAM.sub(r"\1: ", line))
    if verdict:
        return f"{program}: {verdict}"[:_MOST]
    # A log that was cut off has no verdict: fall back to the errno in libbpf's words.
    failed = [line for line in others if "load failed" in line]
    return next(iter([*own, *failed, *others]), "")[:_MOST]


def failure(what: str, code: int, lines: list[str]) -> HalfopenError:
    """The error for a call of libbpf that answered `code` (an errno) about the program or map `what`."""
    # libbpf may report lack of memory as another errno, such as ESRCH when it cannot load the kernel's BTF.
    if any(_SHORT.search(line) for line in lines):
        return KernelError(
            f"loading the eBPF program {what}", errno.ENOMEM, telling(lines) or os.strerror(errno.ENOMEM)
        )
    why = telling(lines)
    if code in (errno.EPERM, errno.EACCES) and not _verified(lines):
        return NotPermitted(f"loading the eBPF program {what} is refused", hint=GRANT)
    if code == _ENOTSUPP and "JIT" in why:
        return Unsupported(
            "bpf_jit", f"the eBPF program {what} needs the kernel's compiler for eBPF (JIT), which is off"
        )
    if code in _NOT_TAKEN:
        return Unsupported(
            f"bpf:{what}", f"this kernel does not take the eBPF program {what}{f' ({why})' if why else ''}"
        )
    return KernelError(f"loading the eBPF program {what}", code, why or os.strerror(code))


def _verified(lines: list[str]) -> bool:
    """Whether the verifier examined a program: the refusal is then about the program, not about privileges."""
    return any("BEGIN PROG LOAD LOG" in line for line in lines)
