"""`halfopen lab --scene`: the list of scenes, and the facts about the one that is set up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from halfopen.present.commands import runnable

if TYPE_CHECKING:
    from halfopen.lab.scenes import Stage
    from halfopen.lab.scenes.truth import Truth


def print_list() -> None:
    """Print every scene, with the finding that is right below its title."""
    from halfopen.lab.scenes.scenes import listed

    scenes = listed()
    width = max(len(one.name) for one in scenes)
    for one in scenes:
        print(f"{one.name:{width}}  {one.title}")
        print(f"{'':{width}}  {' or '.join(one.causes) or 'nothing wrong'}")
    print("\nTwo at once: NAME+NAME.")


@contextmanager
def opened(name: str, seed: int) -> Iterator[Stage]:
    """The scene, once there is something to see. Raises: as `halfopen.lab.scenes.scene`."""
    from halfopen.lab import enter_user_namespace

    enter_user_namespace()
    from halfopen.lab.scenes import scene

    with scene(name, seed) as stage:
        yield stage


def print_truth(stage: Stage, out: IO[str]) -> None:
    """Say which scene is set up, what is true of it, and how to look at it."""
    from halfopen.lab.scenes.scenes import find

    truth = stage.truth()
    title = "; ".join(one.title for one in find(stage.name))
    print(f"lab: scene {stage.name}, seed {stage.seed}: {title}", file=out)
    print(f"Right  {', '.join(truth.causes) or 'nothing is wrong'}", file=out)
    for line in facts(truth):
        print(f"       {line}", file=out)
    look = runnable("halfopen status --netns")
    print(f"Look   {look} {stage.server.netns_path}", file=out)
    for path in stage.beside:
        print(f"       {look} {path}", file=out)
    out.flush()


def facts(truth: Truth) -> Iterator[str]:
    """The measurements, a line each."""
    from halfopen.core.units import endpoint_text, plural

    for one in truth.served:
        queues = ", ".join(f"{n:,}" for n in one.queue)
        pids = ", ".join(map(str, one.pids))
        held = f"accept queue {queues} of {one.cap:,}"
        yield f"server {endpoint_text(one.address, one.port)}: {sum(one.accepted):,} accepted, {held}, pid {pids}"
    for stream in truth.streams:
        who = ", ".join(stream.prefixes)
        finished = sum(stream.prefixes.values())
        yield f"clients from {who}: {stream.started:,} began, {finished:,} finished their handshake"
    for silent in truth.silent:
        who = ", ".join(silent.prefixes) or "spoofed addresses"
        yield f"{plural(silent.sent, 'SYN')} from {who} ({silent.kind})"
    yield f"{plural(truth.half_open, 'request socket')} in the kernel"
