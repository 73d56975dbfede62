"""Addresses as numbers, the way the kernel and our tables hold them."""

from __future__ import annotations

from typing import Final

# Address families, <linux/socket.h>; by these names in `socket`, which depends on the platform.
AF_INET: Final = 2
AF_INET6: Final = 10

V4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""The first 12 of the 16 bytes in which an IPv6 socket holds an IPv4 address (RFC 4291, 2.5.5.2)."""
MAPPED_LOW: Final = 0xFFFF
"""Bits 32 to 63 of such an address's lower half; the upper half is 0, and the lowest 32 bits are the IPv4 address."""
