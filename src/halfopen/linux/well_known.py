"""Names that modules need as well which may import nothing heavy."""

from __future__ import annotations

from typing import Final

OWN_NETNS: Final = "/proc/self/ns/net"
"""The network namespace of the process."""
NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
"""The variable by which systemd says where it wants to be told how a service is (sd_notify(3))."""
WATCHDOG: Final = "WATCHDOG_USEC"
"""The variable by which systemd says how often it wants to hear of a service."""
