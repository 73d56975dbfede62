"""What a watch reports as it happens, in this order: `Begun`, then all the others, then `Ended`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.answered import Calm
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import GuardWithheld, Protected, Released, Withheld
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.where import Namespace

if TYPE_CHECKING:
    from halfopen.core.config import WatchSettings


class Begun(Struct, frozen=True):
    """The watch begins; interval_s between the starts of readings."""

    interval_s: float
    policy: Policy


class Reading(Struct, frozen=True):
    """A namespace was read. verdict: on that; None: not judged, because nothing changed or only depths were read.
    seconds: how long it took to read and to decide. incidents: those that are on now, as they stand. calm: as `build`
    was given it. The parts of its Sample are those that were judged.
    """

    model: Model
    verdict: Verdict | None = None
    seconds: float = 0.0
    incidents: tuple[Incident, ...] = ()
    calm: Calm | None = None


class Glance(Struct, frozen=True):
    """A look between two readings, of which nothing is told; the next reading is compared with it. As in `Reading`."""

    model: Model
    verdict: Verdict | None
    calm: Calm | None


class TakenUp(Struct, frozen=True):
    """At the first reading of a namespace: incidents that an earlier watch did not see end go on, as they stand."""

    model: Model
    incidents: tuple[Incident, ...]


class Decided(Struct, frozen=True):
    """An alarm began, changed or ended. model, verdict: the reading that it was decided on; the last one, where the
    namespace is gone.
    """

    model: Model
    action: Telling
    verdict: Verdict | None = None
    incident: Incident | None = None


class Did(Struct, frozen=True):
    """A release was carried out. incidents: those that were on, as they stand with that."""

    outcome: Released
    incidents: tuple[Incident, ...] = ()


class Noticed(Struct, frozen=True):
    """A policy would release, or must not, and does not; said once while that lasts. model: of the reading."""

    model: Model
    action: Withheld


class Guarding(Struct, frozen=True):
    """The policy [protect] armed a guard (`ended` of the outcome is empty), the guard is off again, or the policy would
    arm one, or must not, and does not (said once while that lasts).
    """

    news: Protected | GuardWithheld


class Trouble(Struct, frozen=True):
    """Something could not be done; watching goes on. about: the name of the namespace, or "metrics", "reload" and the
    like; where: the namespace itself; None: it is not about one.
    """

    about: str
    error: HalfopenError
    where: Namespace | None = None


class Reloaded(Struct, frozen=True):
    """The configuration was read anew and is in force from now on; what is known of namespaces and alarms stays.

    kept: keys that changed and that take effect at the next start of the watch.
    """

    interval_s: float
    policy: Policy
    settings: WatchSettings
    kept: tuple[str, ...] = ()


class Round(Struct, frozen=True):
    """Every namespace that is watched was read, or (`troubled`) could not be. Any other is gone."""

    watched: frozenset[Namespace]
    troubled: frozenset[Namespace]


class Ended(Struct, frozen=True):
    """The watch ended after this many readings."""

    readings: int


Report = Begun | TakenUp | Reading | Glance | Decided | Did | Noticed | Guarding | Trouble | Reloaded | Round | Ended
