"""The lines of `watch` for a program: a JSON object for everything."""

from __future__ import annotations

import json
import time
from typing import Any

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.field import json_object
from halfopen.core.fields.released import released
from halfopen.core.fields.watch import READING
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.policy import Policy
from halfopen.core.units import family_text, json_text
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from halfopen.present.watchlines import Lines


def _reasons(verdict: Verdict | None) -> dict[str, list[str]]:
    if verdict is None:
        return {"reasons": [], "next": []}
    return {"reasons": [say(f) for f in verdict.findings], "next": next_commands(verdict)}


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
        release = policy.release.describe() if policy.release is not None else None
        watched = None if policy.watched.empty else policy.watched.describe()
        return self._line("begin", interval_s=interval_s, watched=watched, release=release)

    def reading(self, model: Model) -> list[str]:
        """event reading."""
        return self._line("reading", model.sample.wall_s, **json_object(READING, model))

    def rising(self, model: Model, action: Rising) -> list[str]:
        """event rising."""
        return self._told("rising", model, action, half_open=action.half_open, because=action.because)

    def passed(self, model: Model, action: Passed) -> list[str]:
        """event passed."""
        return self._told("passed", model, action, half_open=action.half_open, lasted_s=round(action.lasted_s, 3))

    def alarm(self, model: Model, action: Alarm, verdict: Verdict | None) -> list[str]:
        """event alarm."""
        return self._told(
            "alarm",
            model,
            action,
            half_open=action.half_open,
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
        values = {"half_open": action.half_open, "cause": action.cause, "before": action.before}
        return self._told("cause", model, action, **values, **_reasons(verdict))

    def clear(self, model: Model, action: Clear) -> list[str]:
        """event clear."""
        return self._told(
            "clear",
            model,
            action,
            half_open=action.half_open,
            lasted_s=round(action.lasted_s, 3),
            peak=action.peak,
            cause=action.cause,
            gone=bool(action.gone),
        )

    def _told(self, event: str, model: Model, action: Telling, **values: Any) -> list[str]:
        names = ("family", "address", "port", "ifindex")
        at: dict[str, Any] = dict.fromkeys(names)
        if action.listener is not None:
            at = dict(zip(names, action.listener, strict=True)) | {"family": family_text(action.listener[0])}
        where = {"netns": action.where.name, "incident": action.incident}
        return self._line(event, model.sample.wall_s, **where, **at, **values)

    def released(self, outcome: Released) -> list[str]:
        """event released."""
        return self._line("released", None, filter=outcome.action.filter.describe(), **released(outcome))

    def trouble(self, netns: str, error: HalfopenError) -> list[str]:
        """event trouble."""
        return self._line("trouble", None, netns=netns, id=error.id, message=error.line())

    def end(self, readings: int) -> list[str]:
        """event end."""
        return self._line("end", None, readings=readings)
