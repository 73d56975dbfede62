"""The registry of scenes: name, title, the causes that are right, and the function that plays it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from halfopen.lab.scenes.stage import Stage

Play = Callable[[Stage], None]


class Scene(Struct, frozen=True):
    """One kind of trouble, or of health.

    causes: the finding ids of which one must come first; none where nothing is wrong. also: ids that are true beside
    them, but must not come first. `play` puts the scene on a stage, and returns once there is something to see.
    """

    name: str
    title: str
    causes: tuple[str, ...]
    also: tuple[str, ...]
    play: Play

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong in it."""
        return not self.causes


SCENES: Final[dict[str, Scene]] = {}


def entry(name: str, title: str, *causes: str, also: tuple[str, ...] = ()) -> Callable[[Play], Play]:
    """Enter the decorated function as a scene."""

    def enter(play: Play) -> Play:
        SCENES[name] = Scene(name, title, causes, also, play)
        return play

    return enter
