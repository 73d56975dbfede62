"""Incidents in a real Alertmanager: firing as long as they last, over when they are, and by themselves in silence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alertmanagers import Alertmanager, alertmanager_in
from bad_http import BadServer
from halfopen.core.notice import Notice
from halfopen.notify.delivery import Delivery
from notices import notice, receiver
from peers import until

PATIENCE_S = 40


@pytest.fixture
def told() -> Iterator[BadServer]:
    with BadServer() as made:
        yield made


@pytest.fixture
def alertmanager(tmp_path: Path, told: BadServer) -> Iterator[Alertmanager]:
    with alertmanager_in(tmp_path, told.url) as made:
        yield made


def at(now_s: float, state: str, **more: Any) -> Notice:
    return notice(state, at_s=now_s, began_s=now_s - 5, **more)


def test_an_incident_fires_changes_its_cause_and_is_over(
    alertmanager: Alertmanager, told: BadServer, tmp_path: Path
) -> None:
    settings = receiver("alertmanager", url=alertmanager.url, repeat_s=10.0)
    said, stop = list[str](), threading.Event()
    delivery = Delivery([settings], str(tmp_path / "spool" / "db"), said.append)
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    try:
        delivery.take(at(time.time(), "firing"))
        until(lambda: set(alertmanager.alerts() or ()) == {"syn-flood"}, timeout=PATIENCE_S)
        [alert] = (alertmanager.alerts() or {}).values()
        assert alert["annotations"]["incident"] == "i-1"
        assert alert["labels"]["listener"] == ":443"
        delivery.take(at(time.time(), "updated", cause="path-cut"))
        until(lambda: set(alertmanager.alerts() or ()) == {"path-cut"}, timeout=PATIENCE_S)
        delivery.take(at(time.time(), "resolved", cause="path-cut"))
        until(lambda: alertmanager.alerts() == {}, timeout=PATIENCE_S)
    finally:
        stop.set()
        thread.join(20)
    assert said == []

    def statuses() -> list[tuple[str, str]]:
        groups = [json.loads(post.body) for post in told.posts]
        return [(group["status"], group["commonLabels"]["cause"]) for group in groups]

    # Alertmanager told its own receiver of both, and of the end of both.
    both = {(status, cause) for status in ("firing", "resolved") for cause in ("syn-flood", "path-cut")}
    until(lambda: set(statuses()) == both, timeout=PATIENCE_S)


def test_an_alert_that_nobody_sends_any_more_ends_by_itself(alertmanager: Alertmanager) -> None:
    from halfopen.notify.alertmanager import Alertmanager as Receiver
    from halfopen.notify.receiver import Message

    # As if an interval of half a second had been asked for: four of them, and it is over.
    settings = receiver("alertmanager", url=alertmanager.url, repeat_s=0.5)
    Receiver(settings).send([Message("m", at(time.time(), "firing"))], 10)
    until(lambda: alertmanager.alerts() != {}, timeout=PATIENCE_S)
    until(lambda: alertmanager.alerts() == {}, timeout=PATIENCE_S)
