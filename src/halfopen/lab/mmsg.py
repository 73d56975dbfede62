"""Many packets by one system call: recvmmsg(2) and sendmmsg(2), which Python has no function for."""

from __future__ import annotations

from ctypes import c_int, c_uint, c_void_p
from typing import Final

from halfopen.linux.libc import LIBC

RECVMMSG: Final = LIBC.recvmmsg
RECVMMSG.argtypes = [c_int, c_void_p, c_uint, c_int, c_void_p]
SENDMMSG: Final = LIBC.sendmmsg
SENDMMSG.argtypes = [c_int, c_void_p, c_uint, c_int]
