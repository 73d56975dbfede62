"""Counting arrivals and finished handshakes while there is something to judge: what `status` does for half a second, a
watch does between readings.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.read import peers
from halfopen.read.bpf import arrivals
from halfopen.read.bpf.arrivals import ArrivalPrograms
from halfopen.read.probe import Probe

# Loading the programs takes 50 ms of CPU time, and each new source of a SYN a microsecond. So they count until a cause
# is found, but at most this long, and again after a pause: the first pause during an alarm or a rise, the second
# otherwise.
_MOST_S: Final = 20.0
_PAUSE_S: Final = 10.0
_BUSY_PAUSE_S: Final = 60.0


class Counting(Struct):
    """Counts in one namespace at a time. possible: False if eBPF must not be used, or was refused."""

    possible: bool = True
    _programs: ArrivalPrograms | None = None
    _inode: int = 0
    _since_s: float = 0.0
    # By inode: when counting may begin again, during an alarm and otherwise.
    _again: dict[int, tuple[float, float]] = field(default_factory=dict)

    def probes(self, inode: int) -> list[Probe]:
        """Further probes for the next reading of this namespace."""
        if self._programs is None or self._inode != inode:
            return []
        return [arrivals.probe(self._programs), peers.probe()]

    def active(self, inode: int) -> bool:
        """Whether this namespace is being counted."""
        return self._programs is not None and self._inode == inode

    def after(self, inode: int, now_s: float, *, busy: bool, alarmed: bool, decided: bool | None) -> None:
        """Begin or end counting after a reading was judged. busy: there is something to judge. alarmed: there is a rise
        or an alarm. decided: whether the verdict names a cause by the counts; None: there were no counts.
        """
        if not (busy or alarmed):
            self._again.pop(inode, None)
        if self._programs is not None and self._inode == inode:
            if not (busy or alarmed) or decided or now_s >= self._since_s + _MOST_S:
                self.close()
                if busy or alarmed:
                    self._again[inode] = now_s + _PAUSE_S, now_s + _BUSY_PAUSE_S
        elif self._programs is None and self.possible and (busy or alarmed):
            after_alarm_s, after_s = self._again.get(inode, (now_s, now_s))
            if now_s >= (after_alarm_s if alarmed else after_s):
                self._begin(inode, now_s)

    def forget(self, inode: int) -> None:
        """Forget a namespace that is gone."""
        self._again.pop(inode, None)
        if self._inode == inode:
            self.close()

    def close(self) -> None:
        """End counting."""
        if self._programs is not None:
            self._programs.close()
            self._programs = None

    def _begin(self, inode: int, now_s: float) -> None:
        try:
            self._programs = ArrivalPrograms(inode)
        except HalfopenError:
            self.possible = False  # no note needed: the verdict says how it was reached
        self._inode, self._since_s = inode, now_s
