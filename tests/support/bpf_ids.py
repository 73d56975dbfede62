"""The eBPF programs of one process among those of the machine, where others load theirs meanwhile."""

from __future__ import annotations

import ctypes
import glob

from halfopen.linux.bpf import libbpf


def held_programs(pid: int) -> set[int]:
    """The ids of the eBPF programs that a process holds through its links."""
    found = set()
    for entry in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            with open(entry) as f:
                text = f.read()
        except OSError:
            continue
        # Not the programs' own descriptors: those are there while it still tries what the kernel takes.
        if "link_id:" in text:
            found |= {int(line.split()[1]) for line in text.splitlines() if line.startswith("prog_id:")}
    return found


def loaded_programs() -> set[int]:
    """The ids of every eBPF program of the machine."""
    lib = libbpf.library()
    found, number = set(), ctypes.c_uint32(0)
    while lib.bpf_prog_get_next_id(number, ctypes.byref(number)) == 0:
        found.add(number.value)
    return found
