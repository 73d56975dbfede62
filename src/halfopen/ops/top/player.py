"""The position of a replay. Pure: the clock is an argument."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from msgspec import Struct, field

SPEEDS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
JUMP_S: Final = 10.0


class Player(Struct):
    """Plays moments, which are seconds in rising order; more may be appended meanwhile. now_s, in each method, is of
    one steady clock.

    at: the index of the moment that is shown.
    """

    moments: list[float] = field(default_factory=list)
    speed: float = 1.0
    paused: bool = False
    at: int = 0
    # The position in the record, in seconds like the moments, and when on the steady clock it was reached.
    _position_s: float = 0.0
    _since_s: float = 0.0
    # Whether to stay at the end as more moments come.
    _at_end: bool = False

    def begin(self, now_s: float) -> None:
        """Start at the first moment, which must be there."""
        self._position_s, self._since_s, self.at = self.moments[0], now_s, 0

    @property
    def begun(self) -> bool:
        """Whether there is a moment to show."""
        return bool(self.moments)

    def advance(self, now_s: float) -> None:
        """Move on to the moment that is due."""
        if self._at_end:
            self._position_s = self.moments[-1]
        elif not self.paused:
            self._position_s = min(self._position_s + (now_s - self._since_s) * self.speed, self.moments[-1])
        self._since_s = now_s
        self.at = max(0, bisect_right(self.moments, self._position_s) - 1)

    def next_in_s(self) -> float | None:
        """How many seconds until the next moment is due; None while paused, or where no next one is known."""
        if self.paused or self.at + 1 >= len(self.moments):
            return None
        return max(0.0, (self.moments[self.at + 1] - self._position_s) / self.speed)

    def press(self, key: str) -> bool:
        """Obey a key of the replay. Returns False for any other key."""
        match key:
            case "p":
                self.paused = not self.paused
            case "+" | "=":
                self._faster(1)
            case "-" | "_":
                self._faster(-1)
            case "[" | "]" | "," | "." | "b" | "e" if not self.moments:
                pass
            case "[" | "]":
                self._seek(self._position_s + (JUMP_S if key == "]" else -JUMP_S))
            case "," | ".":
                self.paused = True
                self._seek(self.moments[max(0, min(len(self.moments) - 1, self.at + (1 if key == "." else -1)))])
            case "b":
                self._seek(self.moments[0])
            case "e":
                self._seek(self.moments[-1])
                self._at_end = True
            case _:
                return False
        return True

    def _faster(self, by: int) -> None:
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, SPEEDS.index(self.speed) + by))]

    def _seek(self, position_s: float) -> None:
        self._at_end = False
        self._position_s = max(self.moments[0], min(self.moments[-1], position_s))
        self.at = max(0, bisect_right(self.moments, self._position_s) - 1)
