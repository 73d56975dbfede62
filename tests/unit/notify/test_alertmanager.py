"""What Alertmanager is posted: labels that identify, times that end by themselves."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from bad_http import BadServer
from halfopen.notify.alertmanager import Alertmanager, alerts_of, labels
from halfopen.notify.receiver import Message
from notices import notice, receiver

NOW_S = 1_000_000_100.0


def test_labels_hold_nothing_that_changes_with_every_reading() -> None:
    first = labels(notice())
    assert first == {
        "alertname": "HalfOpen",
        "severity": "critical",
        "host": "web-1",
        "netns": "self",
        "listener": ":443",
        "cause": "syn-flood",
    }
    later = notice("updated", at_s=NOW_S, waiting=1, peak=9, unanswered=1, arrivals=2, incident="i-2")
    assert labels(later) == first
    assert labels(notice("resolved", at_s=NOW_S)) == first
    assert "cause" not in labels(notice(cause=""))
    assert labels(notice(test=True))["alertname"] == "HalfOpenTest"


def test_a_firing_alert_ends_four_intervals_ahead_and_a_resolved_one_when_it_ended() -> None:
    [firing] = alerts_of(Message("m", notice()), NOW_S, 60.0)
    assert firing["startsAt"] == "2001-09-09T01:46:40.000Z"
    assert firing["endsAt"] == "2001-09-09T01:52:20.000Z"
    [over] = alerts_of(Message("m", notice("resolved", at_s=NOW_S - 50)), NOW_S, 60.0)
    assert over["endsAt"] == "2001-09-09T01:47:30.000Z"
    # The clock went back an hour meanwhile.
    [odd] = alerts_of(Message("m", notice("resolved", at_s=NOW_S - 3600)), NOW_S - 3600, 60.0)
    assert odd["endsAt"] > odd["startsAt"]
    assert firing["annotations"]["incident"] == "i-1"
    assert firing["annotations"]["command"] == "halfopen release --older-than 10s"


def test_another_cause_is_another_alert_and_ends_the_one_before() -> None:
    changed = notice("updated", cause="path-cut")
    before, after = alerts_of(Message("m", changed, notice()), NOW_S, 60.0)
    assert (before["labels"]["cause"], before["endsAt"]) == ("syn-flood", "2001-09-09T01:48:20.000Z")
    assert (after["labels"]["cause"], after["endsAt"]) == ("path-cut", "2001-09-09T01:52:20.000Z")
    assert len(list(alerts_of(Message("m", changed, changed), NOW_S, 60.0))) == 1


def test_several_in_one_request_with_a_token_or_a_password(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter22\n")
    file.chmod(0o600)
    with BadServer() as server:
        for user, expected in (("", "Bearer hunter22"), ("me", f"Basic {base64.b64encode(b'me:hunter22').decode()}")):
            settings = receiver("alertmanager", url=f"{server.url}/ok/", user=user, secret_file=str(file))
            messages = [Message(str(n), notice(listener=f":{n}")) for n in range(3)]
            assert Alertmanager(settings).send(messages, 10) == "200 OK"
            came = server.posts[-1]
            assert came.path == "/ok/api/v2/alerts"
            assert came.headers["authorization"] == expected
            assert [alert["labels"]["listener"] for alert in json.loads(came.body)] == [":0", ":1", ":2"]
