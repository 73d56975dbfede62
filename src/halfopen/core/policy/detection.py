"""Is what waits at a listener more than its traffic explains? Judged by the share of arrivals that is never answered.

A count follows the traffic: a crowd of clients raises it as a flood does. So the number of half-open connections that
are unanswered for a second and more is held against the arrivals of one release time, and that share against its own
slow past, which is learned only while nothing is wrong. A fast flood is seen earlier, by growth that handshakes do not
account for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from halfopen.core.policy.counts import Flow, ListenerCounts, Point
from halfopen.core.policy.stages import ALARMED, AlarmStage, Signal, StageTold, Standing, Timing, advance

# The share of arrivals that honest clients leave unanswered, until it was learned, and the most that is learned.
_FIRST_USUAL: Final = 0.003
_MOST_USUAL: Final = 0.2
# What is learned moves so slowly, and by one reading no further than to twice what it was.
_LEARN_S: Final = 1800.0
_LEARN_MOST: Final = 2.0
# Below this share of the arrivals no stock of unanswered ones is an alarm.
_LEAST_SHARE: Final = 0.005
# Of what came in the last seconds: a share that handshakes under way do not reach, unless a crowd began just now.
_GROWTH_SHARE: Final = 0.1
_SUSPECT_SHARE: Final = 0.15
# The same of a fraction of a second, in which chance weighs more.
_AGAIN_SHARE: Final = 0.25
# A handshake of honest clients is seldom longer; readings this far apart tell growth from handshakes under way.
_STEP_S: Final = 0.9
_KEPT_S: Final = 3.5
# The least time between two readings that both tell of growth.
_AGAIN_S: Final = 0.2
# So long it watches before a stock is judged: at the first reading nobody knows what arrives.
WARM_UP_S: Final = 2.0
# Clients turned away, or cookies sent, in three seconds: one may be chance.
_TURNED_AWAY: Final = 3
_RECENT_S: Final = 3.0
_QUIET: Final = Standing()
_NOTHING: Final = Point(0.0)


class Because(Enum):
    """What made a reading sure, or a sign."""

    NOTHING = ""
    UNANSWERED = "unanswered"
    DROPS = "drops"
    COOKIES = "cookies"
    ACCEPT_QUEUE = "accept-queue-full"
    SYN_QUEUE = "syn-queue-full"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """When the number of unanswered connections is abnormal.

    minimum: never below this. room: never below this share of the SYN queue's limit, unless it grows fast. factor: at
    least so many times the usual. sigmas: and so many standard deviations above it. timing: of the stages.
    """

    minimum: int = 50
    room: float = 0.025
    factor: float = 3.0
    sigmas: float = 6.0
    timing: Timing = field(default_factory=Timing)


_DEFAULT: Final = Sensitivity()


@dataclass(frozen=True, slots=True)
class Watcher:
    """What is remembered of a listener.

    usual: the share of arrivals that is usually unanswered.
    suspected_s: since when more waits than traffic explains; pressed_s: since when the accept queue is full, or the
    verdict critical; None: they are not. began_s: when it began to rise. peak: the most that waited since.
    """

    standing: Standing = _QUIET
    usual: float = _FIRST_USUAL
    points: tuple[Point, ...] = ()
    suspected_s: float | None = None
    pressed_s: float | None = None
    began_s: float = 0.0
    peak: int = 0

    @property
    def alarmed(self) -> bool:
        """Whether an alarm is on."""
        return self.standing.stage in ALARMED

    @property
    def idle(self) -> bool:
        """Whether a reading in which nothing waits need not be judged."""
        return self.standing.stage is AlarmStage.QUIET and not (self.points and self.points[-1].waiting)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One reading of a listener judged.

    unanswered: connections of a release time, and cookies of the last seconds, that nobody answered; arrivals: all that
    arrived in that time.
    usual: how many of those are usually unanswered. limit: from how many on it is an alarm. look_again: a reading
    within a fraction of a second would tell growth from a crowd.
    """

    signal: Signal
    because: Because = Because.NOTHING
    unanswered: float = 0.0
    arrivals: float = 0.0
    usual: float = 0.0
    limit: float = 0.0
    told: StageTold = StageTold.NOTHING
    look_again: bool = False

    @property
    def share(self) -> float:
        """The share of arrivals that is unanswered."""
        return self.unanswered / self.arrivals if self.arrivals else 0.0


def step(
    watcher: Watcher, counts: ListenerCounts, flow: Flow, before_s: float | None, s: Sensitivity = _DEFAULT
) -> tuple[Watcher, Judgement]:
    """Judge one reading, at flow.at_s; before_s: the reading before of the namespace, None at the first one.

    A listener in which nothing waits may be left out: it is then taken to have been empty at before_s.
    """
    points = _points(watcher.points, counts, flow, before_s)
    now = points[-1]
    # A cookie takes no room: those of the last seconds count, so that an alarm ends when they do.
    silent = max(0, now.silent - points[0].silent)
    unanswered = counts.unanswered + silent
    arrivals = flow.of_release_time(counts.release_s) + counts.waiting + silent
    usual = watcher.usual * arrivals
    limit = _limit(usual, arrivals, counts.cap, s)
    warm = now.at_s - flow.began_s >= WARM_UP_S
    pressed_s = _since(watcher.pressed_s, now.at_s, counts.accept_full or counts.critical)
    because = _consequence(counts, points, pressed_s)
    if because is Because.NOTHING and ((warm and unanswered >= limit) or _grows_fast(points, s)):
        because = Because.UNANSWERED
    suspected_s, grows = _suspect(watcher, points, s)
    signal = Signal.SURE
    if because is Because.NOTHING:
        because = _sign(counts, points, pressed_s, grows)
        held = counts.syn_full or (warm and unanswered >= limit / 2)
        signal = Signal.SIGNS if because is not Because.NOTHING else Signal.HELD if held else Signal.CALM
    standing, told = advance(watcher.standing, now.at_s, signal, s.timing)
    quiet = standing.stage is AlarmStage.QUIET
    fresh = told is StageTold.RISING or (told is StageTold.ALARM and watcher.standing.stage is AlarmStage.QUIET)
    learned = quiet and warm and suspected_s is None
    after = Watcher(
        standing,
        _learned(watcher.usual, unanswered, arrivals, now.at_s - points[-2].at_s) if learned else watcher.usual,
        points,
        suspected_s,
        pressed_s,
        now.at_s if fresh else watcher.began_s,
        counts.waiting if fresh else watcher.peak if told is StageTold.CLEAR else max(watcher.peak, counts.waiting),
    )
    again = quiet and suspected_s == now.at_s
    return after, Judgement(signal, because, unanswered, arrivals, usual, limit, told, again)


def _points(points: tuple[Point, ...], counts: ListenerCounts, flow: Flow, before_s: float | None) -> tuple[Point, ...]:
    """The readings that still count, this one last."""
    last = points[-1] if points else Point(flow.began_s, finished=0.0)
    if before_s is not None and (not points or last.at_s < before_s):
        # It was left out since: nothing waited.
        last = Point(before_s, 0, 0, flow.total - flow.last, last.silent, last.turned_away, last.cookies)
        points = (*points, last)
    now = Point(
        flow.at_s,
        counts.waiting,
        counts.unanswered,
        flow.total,
        last.silent + counts.cookies_unanswered,
        last.turned_away + counts.turned_away,
        last.cookies + counts.cookies,
    )
    # Two earlier ones at least, however long the interval.
    old = 0
    while old < len(points) - 2 and points[old].at_s < now.at_s - _KEPT_S:
        old += 1
    return (*points[old:], now)


def _limit(usual: float, arrivals: float, cap: int | None, s: Sensitivity) -> float:
    floor = max(float(s.minimum), s.room * (cap or 0), _LEAST_SHARE * arrivals)
    return max(floor, s.factor * usual, usual + s.sigmas * math.sqrt(usual))


def _learned(usual: float, unanswered: float, arrivals: float, seconds: float) -> float:
    if not arrivals:
        return usual
    share = min(unanswered / arrivals, usual * _LEARN_MOST + 0.001, _MOST_USUAL)
    return usual + (share - usual) * -math.expm1(-seconds / _LEARN_S)


def _recent(points: tuple[Point, ...]) -> Point:
    """What came in the last seconds, as a difference: of clients turned away and of cookies."""
    now, since = points[-1], points[0]
    if now.turned_away == since.turned_away and now.cookies == since.cookies:
        return _NOTHING
    for point in points[-2::-1]:
        since = point
        if now.at_s - point.at_s >= _RECENT_S:
            break
    turned_away = now.turned_away - since.turned_away
    return Point(now.at_s - since.at_s, turned_away=turned_away, cookies=now.cookies - since.cookies)


def _since(before_s: float | None, at_s: float, holds: bool) -> float | None:
    if not holds:
        return None
    return at_s if before_s is None else before_s


def _consequence(counts: ListenerCounts, points: tuple[Point, ...], pressed_s: float | None) -> Because:
    """What clients feel, or would feel next. At the first reading it is enough that it is so; later it has to last."""
    first = len(points) == 1
    recent = _recent(points)
    if recent.turned_away >= _TURNED_AWAY:
        return Because.DROPS
    if recent.cookies >= _TURNED_AWAY:
        return Because.COOKIES
    if counts.syn_full and first:
        return Because.SYN_QUEUE
    if pressed_s is not None and (first or points[-1].at_s - pressed_s >= _AGAIN_S):
        return Because.ACCEPT_QUEUE if counts.accept_full else Because.VERDICT
    return Because.NOTHING


def _sign(counts: ListenerCounts, points: tuple[Point, ...], pressed_s: float | None, grows: bool) -> Because:
    """What may become a consequence, or growth that an alarm follows if it goes on."""
    if _recent(points).turned_away:
        return Because.DROPS
    if pressed_s is not None:
        return Because.ACCEPT_QUEUE if counts.accept_full else Because.VERDICT
    return Because.UNANSWERED if grows else Because.NOTHING


def _ago(points: tuple[Point, ...], seconds: float) -> int | None:
    """The place of the latest reading that is at least so old."""
    at_s = points[-1].at_s - seconds
    return next((i for i in range(len(points) - 2, -1, -1) if points[i].at_s <= at_s), None)


def _share(gained: float, finished: float) -> float:
    return gained / (gained + finished) if gained > 0 else 0.0


def _grows_fast(points: tuple[Point, ...], s: Sensitivity) -> bool:
    """Whether unanswered ones grew in two steps of a second, by a share of what came that no crowd leaves."""
    now = points[-1]
    if now.unanswered + now.silent < s.minimum / 2 or (one := _ago(points, _STEP_S)) is None:
        return False
    if (two := _ago(points, 2 * _STEP_S)) is None:
        return False
    middle, start = points[one], points[two]
    first = middle.unanswered + middle.silent - start.unanswered - start.silent
    second = now.unanswered + now.silent - middle.unanswered - middle.silent
    piece = s.minimum / 8
    return (
        first >= piece
        and second >= piece
        and first + second >= s.minimum / 2
        and now.unanswered + now.silent - points[0].silent >= s.minimum * 0.8
        and _share(first + second, now.finished - start.finished) >= _GROWTH_SHARE
        and _share(_came(middle, now), now.finished - middle.finished) >= _GROWTH_SHARE
    )


def _came(earlier: Point, later: Point) -> int:
    """How many more wait, or were sent a cookie that nobody sent back."""
    return later.waiting - earlier.waiting + later.silent - earlier.silent


def _suspect(watcher: Watcher, points: tuple[Point, ...], s: Sensitivity) -> tuple[float | None, bool]:
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
    if gained < s.minimum / 2 or _share(gained, finished) < _SUSPECT_SHARE:
        return None, False
    since = watcher.suspected_s
    if since is None:
        return now.at_s, False
    grew = _came(last, now)
    enough = _SUSPECT_SHARE if now.at_s - last.at_s >= _STEP_S else _AGAIN_SHARE
    still = grew > 0 and _share(grew, now.finished - last.finished) >= enough
    return since, still and now.at_s - since >= _AGAIN_S
