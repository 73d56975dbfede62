"""Made-up plans, outcomes and journals of `tune`, and what a screen shows of them."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from halfopen.core.errors import NotPermitted
from halfopen.core.policy.actions import ChangeLine, ChangeSetting, FoundValue, PlannedChange
from halfopen.core.sample import Process
from halfopen.core.tune import keys
from halfopen.core.tune.ledger import Ledger, Now
from halfopen.core.tune.listener import ListenerSummary, Running, Wishes, changes_for
from halfopen.core.tune.outcomes import Applied, Tuned
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.tune.sysctl_d import Override

PLACE = Place("boot", 7, 1, "/run/netns/web", "web")
VALUES = {keys.SYNACK: 5, keys.COOKIES: 1, keys.SOMAXCONN: 4096}
LISTENER = ListeningSocket(2, "192.0.2.1", 8080, 77, 99)
RUNNING = Running(LISTENER, 128, 0, None, 0, processes=(Process(1, "web", "web.service", "0123456789ab"),))
HERE = Place("boot", 8, 2, "/proc/self/ns/net", "self")
DONE = Applied(Spot(PLACE, keys.SYNACK), 5, 2, 2, "done", "because", "", 1)
ON_LISTENER = Applied(Spot(PLACE, "listener.backlog", LISTENER), 4, 512, 512, "done", id=3)
FILE = "/etc/sysctl.d/60-halfopen.conf"
OVERRIDES = [
    Override(keys.SYNACK, "5", "/etc/sysctl.d/99-x.conf", 3),
    Override(keys.SYNACK, None, "/etc/sysctl.conf", 1, at_boot=False),
]
UNREAD = {keys.ABORT: NotPermitted("reading it is refused", hint="run as root")}
SOCKET = ListenerSummary("::", 443, 4096, 3, 5)


def change(key: str, old: int | None, new: int, cost: str = "", place: Place = HERE, file: str = "") -> PlannedChange:
    if file:
        return ChangeLine(file, key, new, "at boot", FoundValue(Spot(place, key, file=file), old))
    return ChangeSetting(place.name, key, new, "because", cost, FoundValue(Spot(place, key), old))


def made(key: str, old: int | None, new: int, state: Any = "done", id: int = 1, **more: Any) -> Applied:
    return Applied(Spot(HERE, key, file=more.get("file")), old, new, new, state, id=id, cost=more.get("cost", ""))


def tuned(*applied: Applied, place: Place = HERE, by: str = "", **plan: Any) -> Tuned:
    return Tuned(Plan(place, (), **plan), applied, (), 9.0 if by else None, by)


def planned(sockets: list[Running], wishes: Wishes, somaxconn: int, first: str | None = None, synack: int = 5) -> Plan:
    return Plan(HERE, tuple(changes_for(sockets, wishes, somaxconn, synack, HERE)), first=first)


def journal() -> list[Any]:
    ledger = Ledger()
    ledger.add(Began(1, 0.0, {"uid": 0}, PLACE, keys.SYNACK, 5, 2))
    ledger.add(Then(1, 0.0, "done", 2))
    ledger.add(Began(2, 0.0, {"uid": 0, "sudo_user": "somebody"}, PLACE, keys.SYNACK, 2, 1, until_s=9.0))
    ledger.add(Then(2, 0.0, "done", 1))
    return [(c, Now(1)) for c in ledger.changes.values()]


def lines(console: Console) -> list[str]:
    return console.export_text().rstrip().splitlines()


def group() -> list[Running]:
    return [Running(ListeningSocket(2, "0.0.0.0", 443, n, n), 128, 0, None, 0) for n in (1, 2, 3)]
