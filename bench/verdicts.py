"""The verdicts: every scene played with several seeds, and what `halfopen` says scored against what was measured.

Alone: python bench/verdicts.py [--draws N] [--first SEED] [--scene NAME …] [--blind] [--jobs N] [--json FILE]
One play, as JSON: python bench/verdicts.py --play NAME --seed N
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import structs

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))


from halfopen.core.errors import HalfopenError  # noqa: E402
from halfopen.lab import enter_user_namespace  # noqa: E402
from halfopen.lab.scenes.scoring import Score, contradicted, score  # noqa: E402
from halfopen.lab.scenes.truth import Served, Silent, Stream, Truth  # noqa: E402

SCHEMA: Final = "halfopen.bench.verdicts/1"
DRAWS: Final = 10
SAYS: Final = ("status", "--json")
# Frames that waited longer than this for their turn made another scene of it: it is played again.
LATE_S: Final = 0.25
TRIES: Final = 3
_PLAY_S: Final = 180
_LOOK_S: Final = 60
# Without these no eBPF program is loaded, and nothing else is missing.
_BLIND: Final = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-sys_admin,-bpf,-perfmon"]
_WIDTH: Final = 22


@dataclass(slots=True)
class Play:
    """One play: the truth before and after the look are kept as one (after), and what was said."""

    scene: str
    seed: int
    truth: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    look_s: float = 0.0
    problem: str = ""
    spoiled: bool = False


@dataclass(slots=True)
class Tally:
    """The plays of one scene, or of all."""

    plays: list[Play] = field(default_factory=list)

    @property
    def scored(self) -> list[Play]:
        return [one for one in self.plays if one.score is not None]

    def count(self, what: str) -> int:
        """How many plays have it: `right`, `untrue`, `accused`, `harmful`, `silent`, `cannot`."""
        return sum(bool(one.score[what]) for one in self.plays if one.score is not None)


def look(stage: Any, path: str, blind: bool) -> tuple[dict[str, Any], float]:
    """What `halfopen status` says of a namespace of the scene. Raises: RuntimeError with what it complains of."""
    words = [sys.executable, "-m", "halfopen", *SAYS]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    begun = time.monotonic()
    if blind:
        process = stage.server.spawn([*_BLIND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        out, err = process.communicate(timeout=_LOOK_S)
        stage.server.end(process)
    else:
        done = subprocess.run(
            [*words, "--netns", path], capture_output=True, text=True, timeout=_LOOK_S, env=env, check=False
        )
        out, err = done.stdout, done.stderr
    if not out:
        raise RuntimeError(err.strip() or "nothing was said")
    verdict: dict[str, Any] = json.loads(out)["verdict"]
    return verdict, time.monotonic() - begun


def play(name: str, seed: int, blind: bool) -> Play:
    """Play one scene in this process and score what was said of it."""
    from halfopen.lab.scenes.scenes import find, scene

    made = Play(name, seed)
    try:
        with scene(name, seed) as stage:
            before = stage.counters()
            made.verdict, made.look_s = look(stage, stage.server.netns_path, blind)
            wrong = contradicted(before, stage.counters(), made.verdict)
            truth = stage.truth()
            said = score(truth, [one.causes for one in find(name)], made.verdict)
            said.untrue += wrong
            for path, causes in stage.beside.items():
                if not blind:
                    _beside(said, truth, causes, look(stage, path, blind)[0])
    except (HalfopenError, RuntimeError, subprocess.TimeoutExpired) as e:
        made.problem = str(e)
        return made
    made.truth, made.score = truth.as_json(), structs.asdict(said)
    made.spoiled = truth.wire_late_s > LATE_S or truth.wire_refused > 0
    return made


def _beside(said: Score, truth: Truth, causes: tuple[str, ...], verdict: dict[str, Any]) -> None:
    """Another namespace is judged as well: what is wrong there is wrong of the play."""
    there = Truth(truth.scene, truth.seed, causes, (), truth.seconds)
    other = score(there, [causes], verdict)
    said.right &= other.right
    said.untrue += other.untrue
    said.accused += other.accused
    said.harmful += other.harmful


def truth_of(made: dict[str, Any]) -> Truth:
    """The truth that `Truth.as_json` gave, to score a play anew."""
    parts = {"streams": Stream, "silent": Silent, "served": Served}
    lists = {k: tuple(kind(**_tuples(one)) for one in made[k]) for k, kind in parts.items()}
    return Truth(**{**_tuples(made), **lists})


def _tuples(made: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in made.items()}


def _apart(name: str, seed: int, blind: bool) -> Play:
    """Play it in a process of its own; again with the next hundred's seed while the machine is too busy for it."""
    made = Play(name, seed)
    for again in range(TRIES):
        words = [sys.executable, __file__, "--play", name, "--seed", str(seed + 100 * again), *["--blind"] * blind]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_PLAY_S, check=False)
        except subprocess.TimeoutExpired:
            made = Play(name, seed, problem=f"it did not end within {_PLAY_S} s")
            continue
        if done.stdout:
            made = Play(**json.loads(done.stdout))
        else:
            made = Play(name, seed, problem=(done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
        if not made.spoiled and not made.problem:
            break
    return made


def measure(names: list[str], draws: int, *, first: int = 1, blind: bool = False, jobs: int = 2) -> dict[str, Tally]:
    """Play each scene with `draws` seeds from `first` on, `jobs` at a time; a tally by scene."""
    tallies = {name: Tally() for name in names}
    turns = [(name, seed) for seed in range(first, first + draws) for name in names]
    with ThreadPoolExecutor(jobs) as pool:
        for i, made in enumerate(pool.map(lambda turn: _apart(*turn, blind), turns), 1):
            tallies[made.scene].plays.append(made)
            print(f"{i}/{len(turns)} {_in_a_line(made)}", file=sys.stderr, flush=True)
    return tallies


def _in_a_line(made: Play) -> str:
    """What came of one play, as it is told while the others go on."""
    if made.score is None:
        return f"{made.scene} {made.seed}: not played: {made.problem}"
    faults = [f"{name} {', '.join(made.score[name])}" for name in ("untrue", "accused", "harmful") if made.score[name]]
    right = "right" if made.score["right"] else "NOT RIGHT"
    return f"{made.scene} {made.seed}: {right}: {'; '.join([made.score['first'], *faults])}"


def as_lines(tallies: dict[str, Tally]) -> Iterator[str]:
    """The table: a row for each scene, and the totals."""
    heads = ("plays", "right", "untrue", "accused", "harmful", "silent", "cannot")
    yield f"{'scene':{_WIDTH}}" + "".join(f"{head:>9}" for head in heads) + "  first said"
    for name, tally in tallies.items():
        yield _row(name, tally, heads) + _said(tally)
    everything = Tally([one for tally in tallies.values() for one in tally.plays])
    yield _row("all", everything, heads)
    spoiled = sum(one.spoiled for one in everything.plays)
    if spoiled:
        yield f"{spoiled} plays are counted though the wire was more than {LATE_S:g} s late: this machine was too busy"
    for one in everything.plays:
        if one.problem:
            yield f"{one.scene}, seed {one.seed}: not played: {one.problem}"


def _row(name: str, tally: Tally, heads: tuple[str, ...]) -> str:
    counts = (len(tally.scored), *(tally.count(head) for head in heads[1:]))
    return f"{name:{_WIDTH}}" + "".join(f"{n:>9}" for n in counts)


def _said(tally: Tally) -> str:
    first = [one.score["first"] for one in tally.scored if one.score is not None]
    return "  " + ", ".join(f"{id} {first.count(id)}" for id in sorted(set(first), key=lambda id: -first.count(id)))


def as_json(tallies: dict[str, Tally]) -> dict[str, Any]:
    """Every play, and the totals by scene."""
    heads = ("right", "untrue", "accused", "harmful", "silent", "cannot")
    scenes = {}
    for name, tally in tallies.items():
        looks = [one.look_s for one in tally.scored]
        scenes[name] = {
            "plays": len(tally.scored),
            **{head: tally.count(head) for head in heads},
            "look_s": statistics.median(looks) if looks else None,
        }
    return {"schema": SCHEMA, "scenes": scenes, "plays": [asdict(p) for t in tallies.values() for p in t.plays]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/verdicts.py", description="Score verdicts against played scenes.")
    add = parser.add_argument
    add("--draws", type=int, default=DRAWS, metavar="N", help="seeds of each scene (10)")
    add("--first", type=int, default=1, metavar="SEED", help="the first of these seeds (1)")
    add("--scene", action="append", metavar="NAME", help="this scene alone (repeatable); mixes: every mix of two")
    add("--blind", action="store_true", help="without eBPF")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="plays at a time (one for each CPU)")
    add("--json", metavar="FILE", help="write every play to FILE as well")
    add("--play", metavar="NAME", help=argparse.SUPPRESS)
    add("--seed", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(given: list[str] | None) -> list[str]:
    """The scenes to play: those given, or all, in the order in which they are listed."""
    from halfopen.lab.scenes.scenes import MIXES, find, listed

    names: list[str] = []
    for name in given or ["all"]:
        if name == "mixes":
            names += ["+".join(mix) for mix in MIXES]
        elif name == "all":
            names += [one.name for one in listed()]
        else:
            find(name)
            names.append(name)
    return names


def main() -> int:
    """Exit code: 0 measured, 2 wrong usage, 3 not possible here."""
    given = _arguments()
    try:
        if given.play:
            enter_user_namespace()
            print(json.dumps(asdict(play(given.play, given.seed, given.blind))))
            return 0
        tallies = measure(chosen(given.scene), given.draws, first=given.first, blind=given.blind, jobs=given.jobs)
    except HalfopenError as e:
        print(f"bench: {e.line()}", file=sys.stderr)
        return e.exit_code
    print("\n".join(as_lines(tallies)))
    if given.json:
        Path(given.json).write_text(json.dumps(as_json(tallies), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
