"""The plan that is confirmed is the plan that is carried out, and every change and undo is in the audit log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import halfopen
import tuning
from halfopen.core.errors import Changed, HalfopenError, UnknownTarget, UsageError
from halfopen.core.policy.actions import ChangeSetting
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.core.tune.listener import Wishes
from halfopen.lab import Lab
from halfopen.linux import netns
from halfopen.linux.netns import resolve
from halfopen.ops.executor import Executor
from halfopen.ops.tune import listener as tune_listener
from halfopen.ops.tune import persist, tune
from halfopen.ops.tune.values import read
from peers import until
from run import PATIENCE_S, document, one_line
from run import halfopen as command
from terminal import terminal

SHORT = "tcp_synack_retries"


@pytest.fixture
def space() -> Iterator[str]:
    """An empty namespace, by a path."""
    fd = netns.create()
    yield f"/proc/{os.getpid()}/fd/{fd}"
    os.close(fd)


def value(space: str) -> int:
    return read(resolve(space), [keys.SYNACK])[keys.SYNACK]


def change_behind_the_back(space: str, to: int) -> None:
    """As somebody with sysctl does: no journal knows of it."""
    fd = os.open(space, os.O_RDONLY)
    try:
        netns.run_in(fd, lambda: Path("/proc/sys/net/ipv4/tcp_synack_retries").write_text(str(to)))
    finally:
        os.close(fd)


def audit() -> list[Any]:
    path = Path(os.environ["HALFOPEN_AUDIT_LOG"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def apply_until(space: str, until_s: float) -> None:
    """A change that is to be reverted at this time, with nobody who waits for it."""
    tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space))
    journal = Path(os.environ["HALFOPEN_STATE_DIR"]) / "tune.jsonl"
    began, done = journal.read_text().splitlines()
    journal.write_text(json.dumps({**json.loads(began), "until_s": until_s}) + f"\n{done}\n")


def states() -> list[str]:
    return [c.state for c, _ in tune.log()[1]]


# --- one plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_is_carried_out_as_it_is_or_not_at_all(space: str) -> None:
    plan = halfopen.tune_plan(space, release_time="7s")
    change_behind_the_back(space, 4)
    with pytest.raises(Changed, match=r"is now 4; it was 5 .*; nothing was changed"):
        halfopen.tune_apply(plan)
    assert (value(space), states(), audit()) == (4, [], [])
    change_behind_the_back(space, 5)
    outcome = halfopen.tune_apply(plan)
    assert outcome.action is plan
    assert [(a.key, a.old, a.value, a.state) for a in outcome.applied] == [(keys.SYNACK, 5, 2, "done")]


def test_a_value_that_changed_while_the_question_stood_is_left_alone(space: str) -> None:
    with terminal("tune", "apply", "--set", f"{SHORT}=2", "--netns", space, columns=200) as asking:
        until(lambda: "Change this?" in asking.read(), timeout=PATIENCE_S)
        change_behind_the_back(space, 4)
        asking.answer("y\n")
        assert asking.wait() == 1
    said = " ".join(asking.text.split())
    assert f"{keys.SYNACK} is now 4; it was 5 when the change was planned; nothing was changed" in said
    assert (value(space), states(), audit()) == (4, [], [])


def test_without_a_question_it_is_planned_anew(space: str) -> None:
    made = []

    def make() -> Any:
        made.append(halfopen.tune_plan(space, settings={SHORT: 2}))
        if len(made) == 1:
            change_behind_the_back(space, 4)
        return made[-1]

    [one] = tune.carry_out(make, Executor()).applied
    assert (len(made), one.old, one.value) == (2, 4, 2)


def test_planning_does_not_mind_who_writes_meanwhile(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outlook = persist.outlook

    def busy(*args: Any, **kwargs: Any) -> Any:
        change_behind_the_back(space, 4)
        return outlook(*args, **kwargs)

    monkeypatch.setattr(persist, "outlook", busy)
    plan = halfopen.tune_plan(space, settings={SHORT: 2})
    with pytest.raises(Changed):
        halfopen.tune_apply(plan)


def test_another_listener_since_the_plan_keeps_all_as_they_are(lab: Lab) -> None:
    lab.server.listen(8080, str(lab.server.v4), backlog=16)
    ns = resolve(lab.server.netns_path)
    plan = tune_listener.plan_listener(ns, None, 8080, Wishes(backlog=64))
    lab.server.listen(8080, "127.0.0.1", backlog=16)
    with pytest.raises(Changed, match=r"the sockets that listen on .*:8080 have changed"):
        Executor().execute(plan)
    assert {s.backlog for s in tune_listener.look_at_listener(ns, None, 8080).sockets} == {16}
    assert (states(), audit()) == ([], [])


def test_a_dry_run_is_another_executor(space: str) -> None:
    plan = halfopen.tune_plan(space, release_time="7s")
    outcome = halfopen.tune_apply(plan, dry_run=True)
    assert [(a.old, a.value, a.state) for a in outcome.applied] == [(5, 2, "wanted")]
    assert (value(space), states(), audit()) == (5, [], [])
    change_behind_the_back(space, 4)
    with pytest.raises(Changed):
        halfopen.tune_apply(plan, dry_run=True)


def test_a_proposed_change_is_not_carried_out(space: str) -> None:
    plan = halfopen.tune_plan(space, settings={SHORT: 2})
    proposed = ChangeSetting("self", keys.SYNACK, 2, "as a finding proposes it")
    with pytest.raises(UsageError, match="proposed, not planned"):
        Executor().execute(replace(plan, changes=(proposed,)))


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_change_and_its_undo_are_in_the_audit_log(space: str) -> None:
    words = ("tune", "apply", "--set", f"{SHORT}=2", "--reason", "ticket 12", "--netns", space, "--yes")
    assert command(*words).returncode == 0
    assert command("tune", "undo", "1", "--reason", "flood is over").returncode == 0
    inode = resolve(space).inode
    begin, done, undo, undone = audit()
    assert [(r["action"], r["phase"]) for r in audit()] == [
        *(("change", "begin"), ("change", "done"), ("undo", "begin"), ("undo", "done")),
    ]
    assert {r["schema"] for r in audit()} == {"halfopen.audit/1"}
    assert (begin["id"], undo["id"]) == (done["id"], undone["id"])
    assert (begin["netns"], begin["netns_inode"], begin["reason"]) == (space, inode, "ticket 12")
    assert undo["reason"] == "flood is over"
    assert "apply" in begin["who"]["command"]
    [planned], [made], [back], [gone] = (r["changes"] for r in audit())
    assert (planned["key"], planned["from"], planned["to"]) == (keys.SYNACK, 5, 2)
    assert (made["id"], made["state"], made["to"]) == (1, "done", 2)
    assert (back["id"], back["from"], back["to"]) == (1, 2, 5)
    assert (gone["id"], gone["state"], gone["from"], gone["to"]) == (1, "undone", 2, 5)


def test_a_command_that_changes_nothing_has_no_line(space: str) -> None:
    for _ in range(2):
        assert command("tune", "apply", "--set", f"{SHORT}=5", "--netns", space, "--yes").returncode == 0
    assert command("tune", "undo", "--all").returncode == 0
    assert (states(), audit()) == ([], [])


def test_a_change_that_fails_says_so_in_the_audit_log(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise HalfopenError("timer", "nobody would undo it")

    monkeypatch.setattr("halfopen.ops.tune.arm.arm", broken)
    with pytest.raises(HalfopenError, match="nobody would"):
        tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=60.0)
    assert [(r["phase"], r.get("error")) for r in audit()] == [("begin", None), ("failed", "nobody would undo it")]
    assert value(space) == 5


def test_a_timer_records_what_it_undoes(space: str) -> None:
    words = ("tune", "apply", "--set", f"{SHORT}=2", "--netns", space, "--yes", "--for", "1s")
    assert command(*words).returncode == 0
    until(lambda: value(space) == 5)
    until(lambda: len(audit()) == 4)
    *_, undo, undone = audit()
    assert (undo["action"], undo["reason"], undone["changes"][0]["state"]) == ("undo", "its time was up", "undone")
    assert any("timer" in word for word in undo["who"]["command"])


def test_a_timer_that_an_older_halfopen_armed_still_reverts(space: str) -> None:
    until_s = time.time() + 0.5
    apply_until(space, until_s)
    assert command("tune", "undo", "1", "--at", str(until_s)).returncode == 0
    assert (value(space), states()) == (5, ["undone"])


def test_what_cannot_be_recorded_is_not_done(space: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = {"HALFOPEN_AUDIT_LOG": str(tmp_path / "file" / "audit.jsonl")}
    words = ("tune", "apply", "--set", f"{SHORT}=2", "--netns", space, "--yes")
    for more in ((), ("--dry-run",)):
        line = one_line(command(*words, *more, env=nowhere), 1)
        assert "the audit log" in line
        assert "--audit-log" not in line
    assert (value(space), states()) == (5, [])
    assert command(*words).returncode == 0
    assert "the audit log" in one_line(command("tune", "undo", "--all", env=nowhere), 1)
    assert (value(space), states()) == (2, ["done"])
    assert command("tune", "undo", "--all").returncode == 0
    assert value(space) == 5


def test_a_promised_revert_does_not_wait_for_the_audit_log(space: str, tmp_path: Path) -> None:
    """The journal has its record; a full /var/log must not keep a change in force."""
    (tmp_path / "file").touch()
    apply_until(space, time.time() - 1)
    done = command("tune", "log", env={"HALFOPEN_AUDIT_LOG": str(tmp_path / "file" / "audit.jsonl")})
    assert done.returncode == 0
    assert "the audit log" in done.stderr
    assert (value(space), states()) == (5, ["undone"])


# --- the Python API ---------------------------------------------------------------------------------------------------


def test_the_python_api(space: str) -> None:
    plan = halfopen.tune_plan(space, release_time=3.0, cookies="always", only="tcp_synack_retries", reason="api")
    assert [(c.key, c.found.value, c.value) for c in plan.todo if c.found] == [(keys.SYNACK, 5, 1)]
    assert plan.todo[0].reason == "released after 3 s instead of 63 s"
    outcome = halfopen.tune_apply(plan)
    [change] = outcome.applied
    assert (change.state, change.id, value(space)) == ("done", 1, 1)
    [one] = document("tune", "log", "--json")["changes"]
    assert (one["reason"], one["state"]) == ("api", "done")
    undone = halfopen.tune_undo(1, reason="over").undone
    assert [(u.state, u.value) for u in undone] == [("undone", 5)]
    assert [u.state for u in halfopen.tune_undo([1]).undone] == ["already"]
    assert halfopen.tune_undo(all=True).undone == ()
    assert value(space) == 5


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"cookies": "maybe"}, "cookies"),
        ({"half_open": 0}, "half_open"),
        ({"release_time": -1.0}, "release_time"),
        ({"for_time": float("nan")}, "for_time"),
        ({"settings": {"tcp_nonsense": 1}}, "tcp_nonsense"),
        ({"settings": {SHORT: 256}}, "256"),
        ({"reason": "x" * 501}, "too long"),
        ({"netns": "all"}, "name one namespace"),
    ],
)
def test_the_python_api_refuses_in_one_line(space: str, words: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError) as caught:
        halfopen.tune_plan(**{"netns": space, **words})
    assert match in caught.value.line()
    with pytest.raises(UsageError, match="needs ids"):
        halfopen.tune_undo()
    with pytest.raises(UnknownTarget, match="no change 9"):
        halfopen.tune_undo(9)
