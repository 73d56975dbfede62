"""The lines of `watch` for a program: a JSON object for everything."""

from __future__ import annotations

import json
import time
from typing import Any

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.field import json_object
from halfopen.core.fields.guard import guard_counts
from halfopen.core.fields.released import released
from halfopen.core.fields.watch import READING
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import GuardWithheld, Protected, Released, Withheld
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import CONNECTIONS, Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Reloaded
from halfopen.core.units import family_text, json_text
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from halfopen.present.watchlines import Lines


def _reasons(verdict: Verdict | None) -> dict[str, list[str]]:
    if verdict is None:
        return {"reasons": [], "next": []}
    return {"reasons": [say(f) for f in verdict.findings], "next": next_commands(verdict)}


def _request(interval_s: float, policy: Policy) -> dict[str, Any]:
    by_age = [one.describe() for one in policy.releases if not one.name]
    policies = [
        {"name": one.name, "mode": "act" if one.acts else "observe", "release": one.describe()}
        for one in policy.releases
        if one.name
    ]
    watched = None if policy.watched.empty else policy.watched.describe()
    return {
        "interval_s": interval_s,
        "watched": watched,
        "release": by_age[0] if by_age else None,
        "policies": policies,
        "protect": None if policy.protect is None else policy.protect.describe(),
        "protect_mode": None if policy.protect is None else "act" if policy.protect.acts else "observe",
    }


def _place(listener: Subject) -> dict[str, Any]:
    names = ("family", "address", "port", "ifindex")
    if listener is None or listener == CONNECTIONS:
        return dict.fromkeys(names)
    return dict(zip(names, listener, strict=True)) | {"family": family_text(listener[0])}


class JsonLines(Lines):
    """For a program: an object a line, each with `schema`, `event` and `time`."""

    def _line(self, event: str, when: float | None = None, **values: Any) -> list[str]:
        document = {
            "schema": "halfopen.watch/1",
            "event": event,
            "time": time.time() if when is None else when,
            **values,
        }
        return [json_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))]

    def begin(self, interval_s: float, policy: Policy) -> list[str]:
        """event begin."""
        return self._line("begin", **_request(interval_s, policy))

    def reloaded(self, event: Reloaded) -> list[str]:
        """event reload."""
        return self._line("reload", **_request(event.interval_s, event.policy), after_restart=list(event.kept))

    def reading(self, model: Model) -> list[str]:
        """event reading."""
        return self._line("reading", model.sample.wall_s, **json_object(READING, model))

    def taken_up(self, model: Model, one: Incident) -> list[str]:
        """event resumed."""
        where = {"netns": one.where.name, "incident": one.id}
        values = {
            "stage": one.stage.value,
            "began": one.began_s,
            "lasted_s": round(one.lasted_s, 3),
            "peak": one.peak.most,
            "cause": one.cause,
        }
        return self._line("resumed", model.sample.wall_s, **where, **_place(one.listener), **values)

    def rising(self, model: Model, action: Rising) -> list[str]:
        """event rising."""
        return self._told("rising", model, action, because=action.because)

    def passed(self, model: Model, action: Passed) -> list[str]:
        """event passed."""
        return self._told("passed", model, action, lasted_s=round(action.lasted_s, 3))

    def alarm(self, model: Model, action: Alarm, verdict: Verdict | None) -> list[str]:
        """event alarm."""
        return self._told(
            "alarm",
            model,
            action,
            unanswered=action.unanswered,
            arrivals=action.arrivals,
            arrivals_of="listener" if action.own else "namespace",
            usual=action.usual,
            limit=action.limit,
            because=action.because,
            cause=action.cause,
            **_reasons(verdict),
        )

    def cause(self, model: Model, action: CauseChanged, verdict: Verdict | None) -> list[str]:
        """event cause."""
        values = {"cause": action.cause, "before": action.before}
        return self._told("cause", model, action, **values, **_reasons(verdict))

    def clear(self, model: Model, action: Clear) -> list[str]:
        """event clear."""
        return self._told(
            "clear",
            model,
            action,
            lasted_s=round(action.lasted_s, 3),
            peak=action.peak,
            cause=action.cause,
            gone=bool(action.gone),
        )

    def _told(self, event: str, model: Model, action: Telling, **values: Any) -> list[str]:
        where = {"netns": action.where.name, "incident": action.incident}
        about = action.listener == CONNECTIONS
        # An alarm about open and closing connections counts no half-open ones.
        many = {"half_open": 0, "connections": action.half_open} if about else {"half_open": action.half_open}
        return self._line(event, model.sample.wall_s, **where, **_place(action.listener), **many, **values)

    def released(self, outcome: Released, wall_s: float | None = None) -> list[str]:
        """event released."""
        action = outcome.action
        asked = {"filter": action.filter.describe(), "policy": action.policy, "reason": action.reason}
        return self._line("released", wall_s, **asked, **released(outcome))

    def withheld(self, model: Model, action: Withheld) -> list[str]:
        """event withheld."""
        release = action.release
        return self._line(
            "withheld",
            model.sample.wall_s,
            netns=release.netns,
            **_place(action.listener),
            policy=release.policy,
            filter=release.filter.describe(),
            reason=release.reason,
            why=action.why.value,
            detail=action.detail,
            matching=action.matching,
        )

    def guarded(self, outcome: Protected) -> list[str]:
        """event guard."""
        action = outcome.action
        return self._line(
            "guard",
            netns=action.netns,
            policy=action.policy,
            reason=action.reason,
            guarded=list(outcome.guarded),
            share=action.share,
            rung=outcome.rung,
            ended=outcome.ended or None,
            seconds=round(outcome.seconds, 3),
            counts=guard_counts(outcome.counts),
            problems=list(outcome.problems),
            notes=list(outcome.notes),
        )

    def guard_withheld(self, action: GuardWithheld) -> list[str]:
        """event withheld, of the policy protect."""
        return self._line(
            "withheld",
            netns=action.protect.netns,
            **_place(None),
            policy=action.protect.policy,
            filter="",
            reason=action.protect.reason,
            why=action.why.value,
            detail=action.detail,
            matching=None,
        )

    def trouble(self, netns: str, error: HalfopenError) -> list[str]:
        """event trouble."""
        return self._line("trouble", None, netns=netns, id=error.id, message=error.line())

    def end(self, readings: int) -> list[str]:
        """event end."""
        return self._line("end", None, readings=readings)
