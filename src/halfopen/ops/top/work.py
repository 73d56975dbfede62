"""The work that keys of the screen start, off the main thread. Each outcome is a change of the screen's state."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError, NotPermitted
from halfopen.core.live import LiveNamespace
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Release, Released
from halfopen.linux.netns import Netns, current
from halfopen.linux.stopping import StopEvent
from halfopen.ops.executor import Executor
from halfopen.ops.top import changes
from halfopen.present.chosen_words import chosen
from halfopen.present.commands import filled
from halfopen.present.findings.cures import command
from halfopen.present.language import listed, wrapped
from halfopen.present.screen import phrases
from halfopen.present.screen.state import NOTICE_MOST, Question, ScreenState
from halfopen.present.screen.styled import StyledLine, plain, styled
from halfopen.present.told import told, told_error

if TYPE_CHECKING:
    from rich.console import Console

    from halfopen.core.tune.outcomes import Tuned
    from halfopen.core.tune.plan import Plan

# Makes the next state of the screen from the present one.
StateChange = Callable[[ScreenState], ScreenState]
DIAGNOSE_S: Final = 5.0
# Wide enough for any notice on one line: the screen wraps it itself.
_ONE_LINE: Final = 2000


class Pending(Struct, frozen=True):
    """A release that waits for a yes, and the namespace it was counted in, as another may be on the screen by then."""

    action: Release
    ns: Netns


class TopWork(Struct):
    """Does the work that keys ask for. Each method raises HalfopenError where it cannot be done.

    snapshot: reads a namespace once, as `diagnose` does. ns: the namespace that is watched; None: every one. reason:
    for the audit log. ask: asks the service, where that reads: looking then needs no privilege, and without root a
    change is refused before it is counted or planned. pending: what waits for a yes. stop: ends the work under way.
    """

    executor: Executor
    snapshot: Callable[[Netns], Model]
    reason: str
    ns: Netns | None = None
    read_by: str = "auto"
    ask: Callable[[Mapping[str, object]], Mapping[str, object]] | None = None
    columns: int = 80
    pending: Pending | changes.PlannedCure | None = None
    older_than_s: float | None = changes.AGES_S[0]
    stop: StopEvent = field(default_factory=StopEvent)

    def netns(self, space: LiveNamespace) -> Netns:
        """A handle on the namespace that is shown."""
        where = space.model.sample.where
        for known in (self.ns, current()):
            if known is not None and known.inode == where.inode:
                return known
        return Netns(where.name, where.inode, where.path, where.lives_in)

    def diagnose(self, space: LiveNamespace) -> StateChange:
        """Look for some seconds, and show what `halfopen diagnose` prints."""
        # Imported here, as everything that only some keys need: the first reading should not wait for it.
        from halfopen.ops.closing.in_passing import in_passing
        from halfopen.ops.diagnose import diagnose_on
        from halfopen.present import diagnosis

        ns, title = self.netns(space), phrases.diagnose_of(space.model.sample.where.name)
        if self.ask is not None:
            return self._asked(title, ns, self.ask)
        found = diagnose_on(lambda: [self.snapshot(ns)], DIAGNOSE_S, way=self.read_by, stop=self.stop)
        closing = in_passing([one.now for one in found], self.read_by)
        lines = self._captured(lambda out: diagnosis.show(out, found, [], closing=closing))
        return lambda state: state.with_text(title, lines)

    def _asked(self, title: str, ns: Netns, ask: Callable[[Mapping[str, object]], Mapping[str, object]]) -> StateChange:
        """Have the service diagnose. Raises: HalfopenError."""
        request = {"command": "diagnose", "for": f"{DIAGNOSE_S:.0f}s", "width": self.columns, "colour": True}
        if ns.inode != current().inode:
            request["netns"] = ns.name
        answer = ask(request)
        if not answer.get("ok"):
            error = answer.get("error")
            words = error.get("message") if isinstance(error, dict) else ""
            raise HalfopenError("service", f"the halfopen service: {words}")
        from halfopen.present.screen.captured import of_ansi

        lines = of_ansi(str(answer.get("output", "")), self.columns)
        return lambda state: state.with_text(title, lines)

    def _must_be_root(self) -> None:
        """Refuse a change at once where the service reads and this process is not root. Raises: NotPermitted."""
        if self.ask is not None and os.geteuid() != 0:
            raise NotPermitted(phrases.shows_only(), hint=phrases.act_as_root())

    # --- release ------------------------------------------------------------------------------------------------------

    def count(self, space: LiveNamespace, view: ListenerView, *, other_age: bool = False) -> StateChange:
        """Count what a release would find, and ask for confirmation."""
        self._must_be_root()
        self.older_than_s = changes.next_age(self.older_than_s) if other_age else changes.AGES_S[0]
        action = changes.release_of(space, view, self.older_than_s, self.reason)
        ns = self.netns(space)
        outcome = Executor(self.executor.audit.path, dry_run=True).execute(action, ns, stop=self.stop)
        notes = tuple(styled(line) for line in _remarks(outcome))
        if not outcome.matched:
            self.pending = None
            question = Question(phrases.no_match(chosen(action.filter)), ages=True, nothing=True)
            return lambda state: state.with_question(question)
        self.pending = Pending(action, ns)
        question = Question(phrases.release_these(outcome.matched, chosen(action.filter)), notes, ages=True)
        return lambda state: state.with_question(question)

    def _release(self, pending: Pending) -> StateChange:
        outcome: Released = self.executor.execute(pending.action, pending.ns, stop=self.stop)
        from halfopen.present import text

        show = lambda out: text.released(out, outcome)  # noqa: E731
        notice = listed([plain(line) for line in _captured(show, _ONE_LINE)])
        if len(wrapped(notice, self.columns, "")) <= NOTICE_MOST:
            return lambda state: state.with_notice(notice)
        title, lines = phrases.released_title(), self._captured(show)
        return lambda state: state.with_text(title, lines)

    # --- tune ---------------------------------------------------------------------------------------------------------

    def plan(self, space: LiveNamespace, view: ListenerView | None) -> StateChange:
        """Plan the change that a finding proposes, and ask for confirmation."""
        self._must_be_root()
        cure = changes.tune_of(space, view)
        if cure is None:
            nothing = phrases.no_change_proposed()
            return lambda state: state.with_notice(nothing)
        planned = changes.plan_of(cure, self.netns(space), self.reason, self.executor.audit.path)
        if not planned.plan.todo:
            all_set = phrases.all_set()
            return lambda state: state.with_notice(all_set)
        self.pending = planned
        lines = [
            *self._command(phrases.command_label(), command(planned.cure[:1])),
            *self._captured(lambda out: _show_plan(out, planned.plan)),
        ]
        if len(planned.cure) > 1:
            lines += self._command(phrases.then_label(), command(planned.cure[1:]), phrases.press_again())
        question = Question(phrases.change_this(), tuple(lines))
        return lambda state: state.with_question(question)

    def _command(self, label: str, words: str, behind: str = "") -> list[StyledLine]:
        """A command with what it is, in as many lines as it takes."""
        first, *more = filled(f"{label}  ", words, self.columns - len(behind)).split("\n")
        lines = [styled((label, "bold"), (first.removeprefix(label), "cyan")), *(styled((one, "cyan")) for one in more)]
        return [*lines[:-1], (*lines[-1], *styled(behind))]

    def _tune(self, planned: changes.PlannedCure) -> StateChange:
        from halfopen.ops.tune import tune

        tune.overdue(self.executor)
        outcome = self.executor.execute(planned.plan)
        lines = self._captured(lambda out: _show_changed(out, outcome))
        problems = tuple(styled((told(line), "yellow")) for line in outcome.problems)
        title = phrases.changed_title()
        return lambda state: state.with_text(title, (*lines, *problems))

    # --- both ---------------------------------------------------------------------------------------------------------

    def carry_out(self) -> StateChange:
        """Carry out what was confirmed: the same object that was shown, in the namespace where it was counted
        or planned.
        """
        action, self.pending = self.pending, None
        if isinstance(action, Pending):
            return self._release(action)
        if action is not None:
            return self._tune(action)
        nothing = phrases.nothing_changed()
        return lambda state: state.with_notice(nothing)

    def forget(self) -> None:
        """Drop what waits for a yes: it was not confirmed."""
        self.pending = None

    def _captured(self, show: Callable[[Console], None]) -> tuple[StyledLine, ...]:
        return _captured(show, self.columns)


def _captured(show: Callable[[Console], None], columns: int) -> tuple[StyledLine, ...]:
    # Modules that print on consoles are imported only when a key needs them, which saves a screen that only watches
    # 2 MB.
    from halfopen.present.screen.captured import captured

    return captured(show, columns)


def failed(error: HalfopenError) -> StateChange:
    """The notice about work that could not be done, in the language of the user."""
    said = told_error(error)
    return lambda state: state.with_notice(said)


def _remarks(outcome: Released) -> list[str]:
    """What the user should know before saying yes."""
    answered = outcome.spared - outcome.may_have_answered
    spared = [phrases.spared(answered)] if answered else []
    return [*spared, *map(told, (*outcome.problems, *outcome.notes))]


def _show_plan(out: Console, plan: Plan) -> None:
    from halfopen.present.tune import changes as _settings
    from halfopen.present.tune import listeners as _options

    if plan.meant is None:
        _settings.plan(out, plan)
    else:
        _options.plan(out, plan)


def _show_changed(out: Console, outcome: Tuned) -> None:
    from halfopen.present.tune import changes as _settings
    from halfopen.present.tune import listeners as _options

    if outcome.action.meant is None:
        _settings.applied(out, outcome)
    else:
        _options.changed(out, outcome, None)
