"""XDP programs of a device, attached by links (Linux 5.9), which the kernel removes when their descriptor closes or the
process ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.linux.bpf import libbpf

# include/uapi/linux/bpf.h and if_link.h
_BPF_XDP: Final = 37
# Generic XDP, behind the driver: works on every device. In the driver, XDP_TX loses packets on veth, and TSO is
# disabled.
_XDP_FLAGS_SKB_MODE: Final = 1 << 1
_XDP_FLAGS_DRV_MODE: Final = 1 << 2


class _LinkOptions(ctypes.Structure):
    # The beginning of struct bpf_link_create_opts of libbpf.
    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("padding", ctypes.c_uint32))


def attach(program: int, ifindex: int, *, in_driver: bool = False) -> int:
    """Attach an XDP program (its descriptor) to a device of the calling thread's network namespace. Returns the
    descriptor of the link; closing it detaches the program. in_driver: native XDP, otherwise generic.

    Raises: Unsupported (also if another XDP program is attached or the driver refuses), NotPermitted, KernelError.
    """
    options = _LinkOptions(ctypes.sizeof(_LinkOptions), _XDP_FLAGS_DRV_MODE if in_driver else _XDP_FLAGS_SKB_MODE)
    fd: int = libbpf.library().bpf_link_create(program, ifindex, _BPF_XDP, ctypes.byref(options))
    if fd >= 0:
        return fd
    code = -fd
    if code in (errno.EBUSY, errno.EEXIST):
        raise Unsupported("xdp", "another XDP program is attached to the device", hint="ip -details link shows it")
    if in_driver and code in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOMEM, errno.ENOSPC, errno.E2BIG, errno.ERANGE):
        raise Unsupported("xdp", f"the driver of the device takes no XDP program ({os.strerror(code)})")
    if code in (errno.EINVAL, errno.EOPNOTSUPP):
        raise Unsupported("xdp", "this kernel cannot attach an XDP program by a link", hint="Linux 5.9 can")
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted("attaching an eBPF program to a device is refused", hint=libbpf.GRANT)
    raise KernelError("attaching an eBPF program to a device", code, os.strerror(code))
