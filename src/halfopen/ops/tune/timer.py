"""The program of a timer, under systemd-run or as a child process.

`python -m halfopen.ops.tune.timer ID... --at UNIX_TIME`

It waits until that time and undoes these changes. It is not for users.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from halfopen.change.journal_file import Journal
from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.policy.actions import Undo
from halfopen.core.tune.ledger import Change
from halfopen.core.tune.outcomes import Undid
from halfopen.ops.executor import Executor
from halfopen.read import netns_lookup

_TRIES: Final = 120
_AGAIN_S: Final = 5.0
_LOOK_S: Final = 0.5


def undo_at(ids: Sequence[int], at_s: float, *, directory: str | None = None) -> Undid:
    """Wait until `at_s` (Unix time) and undo those of these changes that are to be reverted then.

    Returns earlier if none of them is in force any more. An undo that fails is repeated for ten minutes.

    Raises: as `Executor.execute` of an Undo.
    """
    journal = Journal(directory)
    found: list[Change] | None = None
    while True:
        try:
            found = _reverted_then(journal, ids, at_s)
        except HalfopenError:
            # The journal cannot be read at the moment, but the change is still in force: wait on.
            pass
        left_s = _left_s(found, at_s)
        if found == [] or left_s <= 0:
            break
        time.sleep(min(_LOOK_S, left_s))
    action = Undo(tuple(ids if found is None else [c.id for c in found]), timed=True)
    executor = Executor(directory=directory)
    for _ in range(_TRIES):
        try:
            outcome = executor.execute(action)
        except UnknownTarget:
            raise
        except HalfopenError:
            pass
        else:
            if not any(u.state == "failed" for u in outcome.undone):
                return outcome
        time.sleep(_AGAIN_S)
    return executor.execute(action)


def _left_s(found: Sequence[Change] | None, at_s: float) -> float:
    """How long to wait, s: until the earlier of the wall clock's time and the boot-time clock's in the journal."""
    now = netns_lookup.clocks()
    return min([at_s - now.wall_s, *(left for c in found or () if (left := now.left_s(c.began)) is not None)])


def _reverted_then(journal: Journal, ids: Sequence[int], at_s: float) -> list[Change]:
    """The changes with these ids that are in force and to be reverted at `at_s`: a new journal may reuse the ids."""
    changes = journal.look().changes
    found = [changes[id] for id in ids if id in changes]
    return [c for c in found if c.live and c.began.until_s is not None and abs(c.began.until_s - at_s) < 0.01]


def main(words: Sequence[str] | None = None) -> int:
    """Wait and undo. Returns the exit code, and prints failures on standard error."""
    parser = argparse.ArgumentParser(prog="halfopen-timer", description="Undo changes of halfopen tune at a time.")
    parser.add_argument("ids", metavar="ID", nargs="+", type=int)
    parser.add_argument("--at", required=True, type=float, metavar="UNIX_TIME")
    parser.add_argument("--ready", type=int, metavar="FD", help="where to write a byte once it waits")
    given = parser.parse_args(words)
    if given.ready is not None:
        os.write(given.ready, b"1")
        os.close(given.ready)
    try:
        outcome = undo_at(given.ids, given.at)
    except HalfopenError as e:
        print(f"halfopen: {e.line()}", file=sys.stderr)
        return e.exit_code
    failed = [f"change {u.change.id} was not undone: {u.why}" for u in outcome.undone if u.state == "failed"]
    for line in (*failed, *outcome.problems):
        print(f"halfopen: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
