"""The scenes of `closing`: each played with several seeds, and what `halfopen closing` says held against what is right.

The scenes of the lab, and those of closing_pools.py with real programs, as far as these are here.

Alone: python bench/closing_scenes.py [--draws N] [--first SEED] [--scene NAME …] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))

from closing_pools import POOL_SCENES, pool_scene  # noqa: E402

from halfopen.lab.scenes.closing import CLOSING_SCENES, ClosingScene, closing_scene  # noqa: E402

DRAWS: Final = 10
SCENES: Final[dict[str, ClosingScene]] = {**CLOSING_SCENES, **POOL_SCENES}


@dataclass(slots=True)
class ClosingPlay:
    """One play: the ids that were found with their levels, whether the right one was named, and who was accused."""

    scene: str
    seed: int
    found: dict[str, str]
    right: bool
    accused: list[str]
    problem: str = ""


def play(name: str, seed: int) -> ClosingPlay:
    """Play a scene in this process and look at it with the command."""
    one = SCENES[name]
    words = [sys.executable, "-m", "halfopen", "closing", "--json"]
    words += [] if one.seconds is None else ["--for", f"{one.seconds:g}s"]
    with (pool_scene if name in POOL_SCENES else closing_scene)(name, seed) as stage:
        asked = [*words, "--netns", stage.at.netns_path]
        env = {**os.environ, "PYTHONPATH": str(SRC)}
        done = subprocess.run(asked, capture_output=True, text=True, env=env, timeout=120, check=False)
    if not done.stdout:
        return ClosingPlay(name, seed, {}, False, [], done.stderr.strip())
    reasons = json.loads(done.stdout)["verdict"]["reasons"]
    found = {reason["id"]: reason["level"] for reason in reasons}
    accused = [id for id, level in found.items() if level != "ok" and id not in one.right]
    right = any(id in found for id in one.right) if one.right else not accused
    return ClosingPlay(name, seed, found, right, accused)


def _apart(name: str, seed: int) -> ClosingPlay:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--play", name, "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    if not done.stdout:
        return ClosingPlay(name, seed, {}, False, [], done.stderr.strip()[-300:])
    return ClosingPlay(**json.loads(done.stdout))


def main() -> int:
    """Play them and print a line for each scene."""
    parser = argparse.ArgumentParser(description="Play the scenes of closing.")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of the seeds (0)")
    parser.add_argument("--scene", action="append", choices=[*SCENES])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json")
    parser.add_argument("--play", choices=[*SCENES], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        print(json.dumps(asdict(play(given.play, given.seed))))
        return 0
    left_out = {name: one.missing for name, one in POOL_SCENES.items() if one.missing}
    for missing in sorted({name for names in left_out.values() for name in names}):
        scenes = [scene for scene, names in left_out.items() if missing in names]
        print(f"{missing} is not here; left out: {', '.join(scenes)}")
    seeds = range(given.first, given.first + given.draws)
    asked = [(name, seed) for name in given.scene or SCENES if name not in left_out for seed in seeds]
    with ThreadPoolExecutor(given.jobs) as pool:
        plays = list(pool.map(lambda one: _apart(*one), asked))
    for name in dict.fromkeys(name for name, _ in asked):
        mine = [one for one in plays if one.scene == name]
        wrong = Counter(id for one in mine for id in one.accused)
        more = f"; accused: {dict(wrong)}" if wrong else ""
        problems = {one.problem for one in mine if one.problem}
        print(f"{name:<20} right {sum(one.right for one in mine):>2} of {len(mine)}{more}", *problems)
    right, accused = sum(one.right for one in plays), sum(bool(one.accused) for one in plays)
    print(f"{'all':<20} right {right} of {len(plays)} ({right / len(plays):.0%}); plays with an accusation: {accused}")
    if given.json:
        Path(given.json).write_text(json.dumps([asdict(one) for one in plays], indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
