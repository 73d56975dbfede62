"""Who arrives and who finishes, counted for a while where something is to be judged: what `status` does in its half
second, in the intervals of a watch.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.read import peers
from halfopen.read.bpf import arrivals
from halfopen.read.bpf.arrivals import ArrivalPrograms
from halfopen.read.probe import Probe

# Loading the programs takes 50 ms of a CPU, and each new source of a SYN costs a microsecond: so it is counted until a
# cause is found, this long at most, and again after a pause: the first where an alarm or a rise is on.
_MOST_S: Final = 20.0
_PAUSE_S: Final = 10.0
_BUSY_PAUSE_S: Final = 60.0


class Counting(Struct):
    """Counts in one namespace at a time. possible: False where eBPF is not to be used, and once it was refused."""

    possible: bool = True
    _programs: ArrivalPrograms | None = None
    _inode: int = 0
    _since_s: float = 0.0
    # By inode: when it may begin again while an alarm is on, and otherwise.
    _again: dict[int, tuple[float, float]] = field(default_factory=dict)

    def probes(self, inode: int) -> list[Probe]:
        """What is to be read besides in this namespace now."""
        if self._programs is None or self._inode != inode:
            return []
        return [arrivals.probe(self._programs), peers.probe()]

    def active(self, inode: int) -> bool:
        """Whether it is counted in this namespace now."""
        return self._programs is not None and self._inode == inode

    def after(self, inode: int, now_s: float, *, busy: bool, alarmed: bool, decided: bool | None) -> None:
        """A reading was judged. busy: there is something to judge; alarmed: a rise or an alarm is on. decided: whether
        its verdict names a cause by what was counted; None: it was judged without.
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
        """The namespace is gone."""
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
            self.possible = False  # the verdict says by which means it was reached
        self._inode, self._since_s = inode, now_s
