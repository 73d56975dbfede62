"""Every scene by name, how one is opened, and mixes of two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from halfopen.core.errors import UsageError
from halfopen.lab.scenes import apps, around, floods, honest, paths, settings
from halfopen.lab.scenes.registry import SCENES, Scene
from halfopen.lab.scenes.stage import Stage

# The order in which they are listed.
FAMILIES: Final = (honest, floods, paths, apps, settings, around)
# Two that can be true of one host at once: neither hides the other, and no setting is asked for twice.
MIXES: Final = (
    ("flood", "app-stopped"),
    ("flood", "slow-path"),
    ("flood-few", "synacks-lost"),
    ("flood-cookies", "no-descriptors"),
    ("synacks-lost", "app-slow"),
    ("acks-lost", "flood-prefix"),
    ("member-stuck", "backlog-tiny"),
    ("deferred", "app-blocked"),
    ("busy", "app-stopped"),
    ("behind-proxy", "flood-few"),
)


def listed() -> list[Scene]:
    """Every scene, family by family, healthy ones first."""
    order = [family.__name__ for family in FAMILIES]
    return sorted(SCENES.values(), key=lambda one: order.index(one.play.__module__))


def find(name: str) -> tuple[Scene, ...]:
    """The scene of that name, or the two of `NAME+NAME`. Raises: UsageError, which says how they are listed."""
    names = name.split("+")
    if len(names) > 2 or not all(part in SCENES for part in names):
        raise UsageError(f"there is no scene {name!r}", hint="halfopen lab --scene list")
    return tuple(SCENES[part] for part in names)


@contextmanager
def scene(name: str, seed: int = 0) -> Iterator[Stage]:
    """Stand a scene up and give its stage once there is something to see; everything is gone at the end.

    name: of `SCENES`, or two joined by `+`. What is drawn (rates, ports, families, backlogs, delays, prefixes) comes
    from `seed`. The scene goes on until it is left, ten minutes at most.

    Raises: UsageError for an unknown name, Unsupported where this machine cannot show it, NotPermitted, LabError.
    """
    chosen = find(name)
    with Stage(name, seed) as stage:
        for one in chosen:
            stage.causes += one.causes
            stage.also += one.also
            one.play(stage)
        stage.ready()
        yield stage
