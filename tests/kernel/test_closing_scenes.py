"""A leak is named and a pool is not accused, with real programs; bench/closing_scenes.py plays all scenes ten times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from halfopen.lab.scenes.closing import CLOSING_SCENES, closing_scene
from run import halfopen

# One worker plays them all, side by side: they wait nearly all the time.
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("closing")]

NAMES = ("healthy-pool", "idle-pool", "leak")


def play(name: str) -> Any:
    with closing_scene(name, 3) as stage:
        done = halfopen("closing", "--json", "--for", "2s", "--netns", stage.at.netns_path)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Future[Any]]]:
    with ThreadPoolExecutor(len(NAMES)) as pool:
        yield {name: pool.submit(play, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_right(plays: dict[str, Future[Any]], name: str) -> None:
    right = CLOSING_SCENES[name].right
    reasons = {reason["id"]: reason["level"] for reason in plays[name].result(120)["verdict"]["reasons"]}
    assert {id for id, level in reasons.items() if level != "ok"} <= set(right), reasons
    assert not right or reasons.keys() & set(right), reasons
