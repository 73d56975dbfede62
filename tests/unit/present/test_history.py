# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""`halfopen history` in Chinese: nothing that it says by itself is left in English."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from halfopen.core.history import HistoryAnswer, KeptSeries, SettingChanged, Slot, WatchedSpan
from halfopen.core.policy.incidents import CauseFound, Incident, Peak, ReleasesMade
from halfopen.core.policy.silence import Silence
from halfopen.core.policy.stages import AlarmStage
from halfopen.present import history, language
from rows import SELF

NOW = 1_700_000_000.0
WEB = (2, "0.0.0.0", 8080, 0)
REASON = "policy floods: spoofed-flood, SYN queue 97% full, 812 older than 8 s, on :8080 at :8080"


@pytest.fixture(autouse=True)
def chinese() -> Iterator[None]:
    language.prefer("zh")
    yield
    language.prefer(language.ENGLISH)


def incident(**changed: object) -> Incident:
    values: dict[str, object] = {
        "stage": AlarmStage.QUIET,
        "alarm_s": NOW - 50,
        "ended_s": NOW,
        "lasted_s": 60.0,
        "because": "unanswered",
        "unanswered": 400,
        "arrivals": 500,
        "turned_away": 9,
        "gone": "listener",
        "peak": Peak(812, 0.97, 12.0),
        "causes": (CauseFound(NOW - 50, "spoofed-flood"), CauseFound(NOW - 40, "")),
        "releases": (ReleasesMade("older than 8 s, on :8080", REASON, 3, NOW - 40, NOW, 812, 800, 2, 10),),
        "silences": (Silence(":8080", NOW - 30, "root"),),
    }
    listener = changed.pop("listener", WEB)
    return Incident("20261126T120000Z-3f9c1a", SELF, listener, NOW - 60, **{**values, **changed})  # type: ignore[arg-type]


def words_of(out: Console) -> set[str]:
    """The words of Latin letters that are neither names, units nor commands."""
    assert isinstance(out.file, io.StringIO)
    lines = [
        line for line in out.file.getvalue().splitlines() if "halfopen history" not in line and "INCIDENT" not in line
    ]
    return set(re.findall(r"[A-Za-z][\w-]+", "\n".join(lines)))


KNOWN = {"SYN", "floods", "spoofed-flood", "unanswered", "root", "somaxconn", "Z-3f9c1a", "T120000Z-3f9c1a", "ms"}


def test_a_screen() -> None:
    out = Console(file=io.StringIO(), width=160, color_system=None)
    told = HistoryAnswer(
        NOW - 3600,
        NOW,
        NOW,
        60,
        incidents=(incident(), incident(ended_s=None, stage=AlarmStage.INCIDENT)),
        rises=(incident(alarm_s=None),),
        series=(KeptSeries(SELF, None, "half_open", (Slot(int(NOW) - 60, 60, 0, 90, 90, 0, 2),)),),
        spans=(WatchedSpan(SELF, NOW - 1800, NOW),),
        settings=(SettingChanged(SELF, NOW, "somaxconn", None, 4096),),
    )
    history.show(out, told)
    assert "最近 1 小时有 2 起事件，其中 1 起仍在持续" in out.file.getvalue()  # type: ignore[attr-defined]
    assert words_of(out) <= KNOWN


ON = incident(ended_s=None, stage=AlarmStage.INCIDENT, gone="")


@pytest.mark.parametrize(
    "one",
    [incident(), incident(alarm_s=None), ON, incident(listener=None, gone="namespace")],
    ids=["over", "rise", "on", "of the namespace"],
)
def test_an_incident(one: Incident) -> None:
    out = Console(file=io.StringIO(), width=160, color_system=None)
    history.incident(out, one, [], NOW)
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "策略 floods：:8080 上有 spoofed-flood，SYN 队列已用 97%，812 个半连接（已超过 8 秒，监听 :8080）" in shown
    assert words_of(out) <= {*KNOWN, "incident", "namespace"}
