"""The eBPF programs, maps and links of this kernel, and which of them are ours.

Ours is what one of our processes holds a descriptor of; and what nobody holds and bears a name of ours, so that
something else must keep it: a pin, an attachment without a link, a bug.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "bpf"
KINDS = ("prog", "map", "link")
_WORDS = {"prog": "program", "map": "map", "link": "link"}
_ID = re.compile(r"^(prog|map|link)_id:\s+(\d+)$", re.MULTILINE)
_INFO_BYTES = 80
# Where struct bpf_prog_info and struct bpf_map_info have the name (include/uapi/linux/bpf.h).
_NAME_AT = {"prog": 64, "map": 24}

Found = dict[str, str]


def seen(ours: set[int]) -> tuple[Found, Found]:
    """`prog 7` and the like, in words: those that the processes `ours` hold, and others that are called like ours.

    The others are a stranger's, or nobody's: `held_by_others` tells. Empty where asking is refused.
    Needs CAP_SYS_ADMIN (bpf_obj_get_next_id()) and a libbpf.
    """
    there = {(kind, number): name for kind in KINDS for number, name in _all(kind)}
    held: dict[tuple[str, int], int] = {}
    for pid, kind, number in _held(sorted(ours, reverse=True)):
        held[kind, number] = pid
    found = {}
    for (kind, number), pid in held.items():
        if (kind, number) in there:
            name = there[kind, number]
            found[f"{kind} {number}"] = _line(kind, number, name, f"held by process {pid}")
    others = {
        f"{kind} {number}": _line(kind, number, name, "held by no process")
        for (kind, number), name in there.items()
        if (kind, number) not in held and is_ours(kind, name)
    }
    return found, others


def held_by_others(wanted: set[str]) -> set[str]:
    """Which of these (`prog 7` and the like) any process holds, or which are gone by now."""
    unheld = set(wanted)
    for _, kind, number in _held(_everybody()) if wanted else ():
        unheld.discard(f"{kind} {number}")
        if not unheld:
            return set(wanted)
    return wanted - (unheld & {f"{kind} {number}" for kind in KINDS for number, _ in _all(kind)})


def _everybody() -> Iterator[int]:
    """Every process, those that use libbpf first: to ask one with a million descriptors takes ten seconds."""
    rest = []
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]:
        try:
            with open(f"/proc/{pid}/maps") as f:
                uses = "libbpf" in f.read()
        except OSError:
            uses = False
        if uses:
            yield pid
        else:
            rest.append(pid)
    yield from rest


def _line(kind: str, number: int, name: str, how: str) -> str:
    return f"BPF {_WORDS[kind]} {number} ({name}), {how}"


def is_ours(kind: str, name: str) -> bool:
    """Whether a program, map or link (by its program's name) is called like one of bpf/*.bpf.c."""
    if kind == "map":
        return any(name.startswith(f"{object}."[:15]) for object in _objects())
    return name in _programs()


@lru_cache(maxsize=1)
def _objects() -> tuple[str, ...]:
    return tuple(path.name.removesuffix(".bpf.c") for path in SOURCES.glob("*.bpf.c"))


@lru_cache(maxsize=1)
def _programs() -> frozenset[str]:
    text = "".join(path.read_text() for path in SOURCES.glob("*.bpf.c"))
    return frozenset(name[:15] for name in re.findall(r'^SEC\("[^"]*"\)\s+int (\w+)\(', text, re.MULTILINE))


@lru_cache(maxsize=1)
def _libbpf() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        return None


def _all(kind: str) -> Iterator[tuple[int, str]]:
    """Every program, map or link there is, with its name."""
    lib = _libbpf()
    if lib is None:
        return
    following: Callable[..., int] = getattr(lib, f"bpf_{kind}_get_next_id")
    opened: Callable[..., int] = getattr(lib, f"bpf_{kind}_get_fd_by_id")
    number = ctypes.c_uint32(0)
    while following(number, ctypes.byref(number)) == 0:
        fd = opened(number)
        if fd < 0:
            continue  # gone meanwhile
        try:
            info = _info(lib, fd)
        finally:
            os.close(fd)
        if kind == "link":
            (program,) = struct.unpack_from("=I", info, 8)
            yield number.value, _name_of_program(lib, program)
        else:
            yield number.value, _text(info, _NAME_AT[kind])


def _name_of_program(lib: ctypes.CDLL, number: int) -> str:
    fd = lib.bpf_prog_get_fd_by_id(ctypes.c_uint32(number))
    if fd < 0:
        return ""
    try:
        return _text(_info(lib, fd), _NAME_AT["prog"])
    finally:
        os.close(fd)


def _info(lib: ctypes.CDLL, fd: int) -> bytes:
    info, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
    if lib.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)):
        raise OSError(ctypes.get_errno() or errno.EINVAL, "bpf_obj_get_info_by_fd")
    return info.raw


def _text(info: bytes, at: int) -> str:
    return info[at : at + 16].split(b"\0")[0].decode()


def _held(pids: Iterable[int]) -> Iterator[tuple[int, str, int]]:
    """Which of these processes holds what: a link's descriptor holds its program as well."""
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in descriptors:
            try:
                if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("anon_inode:bpf"):
                    continue
                with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                    text = f.read()
            except OSError:
                continue
            for kind, number in _ID.findall(text):
                yield pid, kind, int(number)
