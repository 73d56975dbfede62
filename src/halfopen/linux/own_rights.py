"""What this process may do, and whether sudo started it: for the commands that are proposed to whoever started it."""

from __future__ import annotations

import os

from halfopen.core.capabilities import CAPABILITIES


class OwnRights:
    """Those of this process, looked up when they are asked for."""

    def has(self, capability: str) -> bool:
        """Whether it has a capability in its network namespace."""
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as f:
                found = next((line.split()[1] for line in f if line.startswith("CapEff:")), "0")
            return bool(int(found, 16) >> CAPABILITIES[capability] & 1)
        except (OSError, ValueError, IndexError):
            return os.geteuid() == 0

    def of_machine(self) -> bool:
        """Whether it is in no user namespace but the first."""
        try:
            with open("/proc/self/uid_map", encoding="ascii", errors="replace") as f:
                return f.read().split() == ["0", "0", "4294967295"]
        except OSError:
            return True

    def by_sudo(self) -> bool:
        """Whether its parent is the sudo of an ordinary user: a shell that sudo started is root's."""
        if os.environ.get("SUDO_UID", "0") == "0":
            return False
        try:
            with open(f"/proc/{os.getppid()}/comm", encoding="ascii", errors="replace") as f:
                return f.read().strip() == "sudo"
        except OSError:
            return False
