"""Is what waits at a listener more than its traffic explains? Judged by the share of arrivals that is never answered.

A count follows the traffic: a crowd of clients raises it as a flood does. So the number of half-open connections that
are unanswered for a second and more is held against the arrivals of one release time, and that share against its own
slow past, which is learned only while nothing is wrong. A fast flood is seen earlier, by growth that handshakes do not
account for.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from msgspec import Struct, field

from halfopen.core.policy.counts import Flow, ListenerCounts, Point
from halfopen.core.policy.growth import AGAIN_S, grows_fast, suspected
from halfopen.core.policy.stages import ALARMED, AlarmStage, Signal, StageTold, Standing, Timing, advance

# The share of arrivals that honest clients leave unanswered, until it was learned, and the most that is learned.
_FIRST_USUAL: Final = 0.003
_MOST_USUAL: Final = 0.2
# The time constant of learning; one reading at most doubles a learned value.
_LEARN_S: Final = 1800.0
_LEARN_MOST: Final = 2.0
# Below this share of the arrivals no stock of unanswered ones is an alarm.
_LEAST_SHARE: Final = 0.005
_KEPT_S: Final = 3.5
# How long to watch before a stock is judged: at the first reading arrivals are not known.
WARM_UP_S: Final = 2.0
# Clients turned away, or cookies sent, in three seconds: one may be chance.
_TURNED_AWAY: Final = 3
_RECENT_S: Final = 3.0
_QUIET: Final = Standing()
_NOTHING: Final = Point(0.0)


class Because(Enum):
    """The reason why a reading was sure, or a sign."""

    NOTHING = ""
    UNANSWERED = "unanswered"
    DROPS = "drops"
    COOKIES = "cookies"
    ACCEPT_QUEUE = "accept-queue-full"
    SYN_QUEUE = "syn-queue-full"
    VERDICT = "verdict"
    CONNECTIONS = "connections"


class Sensitivity(Struct, frozen=True):
    """When the number of unanswered connections is abnormal.

    minimum: never below this. room: never below this share of the SYN queue's limit, unless it grows fast. factor: at
    least this many times the usual. sigmas: and this many standard deviations above it. timing: of the stages.
    """

    minimum: int = 50
    room: float = 0.025
    factor: float = 3.0
    sigmas: float = 6.0
    timing: Timing = field(default_factory=Timing)


_DEFAULT: Final = Sensitivity()


class Watcher(Struct, frozen=True):
    """The memory of a listener.

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


class Judgement(Struct, frozen=True):
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
    if because is Because.NOTHING and ((warm and unanswered >= limit) or grows_fast(points, s.minimum)):
        because = Because.UNANSWERED
    suspected_s, grows = suspected(watcher.suspected_s, points, s.minimum)
    signal = Signal.SURE
    if because is Because.NOTHING:
        because = _sign(counts, points, pressed_s, grows)
        # Arrivals are not known yet if an alarm was taken up; until they are, the stock keeps the alarm on.
        held = counts.syn_full or ((warm or watcher.alarmed) and unanswered >= limit / 2)
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
    """The sums of the last seconds, as a difference: of clients turned away and of cookies."""
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
    """The consequence that clients feel, or would feel next. At the first reading it is enough that it is so; later it
    has to last.
    """
    first = len(points) == 1
    recent = _recent(points)
    if recent.turned_away >= _TURNED_AWAY:
        return Because.DROPS
    if recent.cookies >= _TURNED_AWAY:
        return Because.COOKIES
    if counts.syn_full and first:
        return Because.SYN_QUEUE
    if pressed_s is not None and (first or points[-1].at_s - pressed_s >= AGAIN_S):
        return Because.ACCEPT_QUEUE if counts.accept_full else Because.VERDICT
    return Because.NOTHING


def _sign(counts: ListenerCounts, points: tuple[Point, ...], pressed_s: float | None, grows: bool) -> Because:
    """The sign of a consequence to come, or of growth that an alarm follows if it goes on."""
    if _recent(points).turned_away:
        return Because.DROPS
    if pressed_s is not None:
        return Because.ACCEPT_QUEUE if counts.accept_full else Because.VERDICT
    return Because.UNANSWERED if grows else Because.NOTHING
