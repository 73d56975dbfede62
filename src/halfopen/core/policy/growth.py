"""Growth of what waits that handshakes do not account for: how a fast flood is seen before its stock is large."""

from __future__ import annotations

from typing import Final

from halfopen.core.policy.counts import Point

Points = tuple[Point, ...]

# A share of the arrivals of the last seconds that handshakes under way do not reach, unless a crowd began just now.
_GROWTH_SHARE: Final = 0.1
_SUSPECT_SHARE: Final = 0.15
# The same of a fraction of a second, in which chance weighs more.
_AGAIN_SHARE: Final = 0.25
# A handshake of honest clients is seldom longer; readings this far apart tell growth from handshakes under way.
_STEP_S: Final = 0.9
# The least time between two readings that both tell of growth.
AGAIN_S: Final = 0.2


def _ago(points: Points, seconds: float) -> int | None:
    """The place of the latest reading that is at least so old."""
    at_s = points[-1].at_s - seconds
    return next((i for i in range(len(points) - 2, -1, -1) if points[i].at_s <= at_s), None)


def _share(gained: float, finished: float) -> float:
    return gained / (gained + finished) if gained > 0 else 0.0


def grows_fast(points: Points, minimum: int) -> bool:
    """Whether unanswered ones grew in two steps of a second, by a share of what came that no crowd leaves."""
    now = points[-1]
    if now.unanswered + now.silent < minimum / 2 or (one := _ago(points, _STEP_S)) is None:
        return False
    if (two := _ago(points, 2 * _STEP_S)) is None:
        return False
    middle, start = points[one], points[two]
    first = middle.unanswered + middle.silent - start.unanswered - start.silent
    second = now.unanswered + now.silent - middle.unanswered - middle.silent
    piece = minimum / 8
    return (
        first >= piece
        and second >= piece
        and first + second >= minimum / 2
        and now.unanswered + now.silent - points[0].silent >= minimum * 0.8
        and _share(first + second, now.finished - start.finished) >= _GROWTH_SHARE
        and _share(_came(middle, now), now.finished - middle.finished) >= _GROWTH_SHARE
    )


def _came(earlier: Point, later: Point) -> int:
    """How many more wait, or were sent a cookie that nobody sent back."""
    return later.waiting - earlier.waiting + later.silent - earlier.silent


def suspected(since: float | None, points: Points, minimum: int) -> tuple[float | None, bool]:
    """Since when more wait than finish handshakes explain (None: they do not), and whether two readings tell so."""
    now = points[-1]
    if len(points) < 2:
        return None, False
    # From the reading before the suspicion on, else from the one before; a longer step dilutes nothing.
    last = points[-2]
    at = _ago(points, _STEP_S)
    base = points[at] if at is not None else points[0]
    gained = max(_came(base, now), _came(last, now))
    finished = now.finished - (base if gained == _came(base, now) else last).finished
    if gained < minimum / 2 or _share(gained, finished) < _SUSPECT_SHARE:
        return None, False
    if since is None:
        return now.at_s, False
    grew = _came(last, now)
    enough = _SUSPECT_SHARE if now.at_s - last.at_s >= _STEP_S else _AGAIN_SHARE
    still = grew > 0 and _share(grew, now.finished - last.finished) >= enough
    return since, still and now.at_s - since >= AGAIN_S
