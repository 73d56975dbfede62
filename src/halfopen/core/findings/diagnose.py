"""From a Model to Findings: what is wrong, why it is thought so, and the command that helps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from halfopen.core.model import timing
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.tune.keys import COOKIES, IPV4, SYNACK
from halfopen.core.tune.settings import GOOD_BACKLOG, needed
from halfopen.core.units import listener_text, netns_words, plural, show_duration

# Below this many half-open connections nothing is made of them: every busy server has some at any moment.
FEW: Final = 50
MANY: Final = 1000
# More distinct sources than this share of the connections: nobody tries twice, as no real client would.
SPREAD: Final = 0.3
# A handshake that takes longer than this many seconds met loss or a client that does not mean it.
SLOW_S: Final = 3.0
MOST: Final = 0.5
NEARLY_ALL: Final = 0.95


class Level(IntEnum):
    """How bad, in rising order; `name` in lower case is what JSON says."""

    OK = 0
    NOTICE = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: stable id, level, one sentence with its evidence, and the command that helps, if one does."""

    id: str
    level: Level
    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst level, the sentence of the first line, every finding (worst first) and what to do next, as commands."""

    level: Level
    headline: str
    findings: tuple[Finding, ...]
    next: tuple[str, ...]


def listener_name(view: ListenerView) -> str:
    """`:8080`, or with the address where the listener is bound to one."""
    return listener_text(view.address, view.port)


def listener_argument(view: ListenerView) -> str:
    """What `--listener` takes to mean this listener."""
    return listener_name(view)


def _here(model: Model) -> str:
    return netns_words(model.sample.netns)


def shorten_command(model: Model, release_s: float) -> str:
    """The command that makes the release time of the Model's namespace at most so many seconds."""
    return f"halfopen tune apply{_here(model)} --release-time {release_s:g}s"


def listener_command(model: Model, view: ListenerView, words: str) -> str:
    """The `tune listener` command for a listener of the Model's namespace."""
    return f"halfopen tune listener {listener_name(view)} {words}{_here(model)}"


def _longer_queues(model: Model, view: ListenerView) -> str | None:
    """The command that gives a listener longer queues; first the one that lifts what is in the way."""
    if not view.accept_queue_limit:
        return None
    if view.syn_queue_limit is not None and view.syn_queue_limit < view.accept_queue_limit:
        # Cookies are off, and it is tcp_max_syn_backlog that is full.
        return f"halfopen tune apply{_here(model)} --half-open {max(GOOD_BACKLOG, 2 * view.syn_queue_limit)}"
    backlog = max(GOOD_BACKLOG, 2 * (view.accept_queue_limit // view.members))
    command = listener_command(model, view, f"--backlog {backlog}")
    if model.sample.settings.get("somaxconn", backlog) < backlog:
        return f"halfopen tune apply{_here(model)} --set somaxconn={backlog} && {command}"
    return command


def diagnose(model: Model) -> Verdict:
    """Judge one namespace."""
    # Nobody is called silent, or offered for release, who may have answered.
    certain = model.certain or model
    findings = _cause(certain) if certain.half_open >= FEW else []
    silent = {view.key: view for view in certain.listeners}
    for view in model.listeners:
        findings += _accept_queue(model, view) + _syn_queue(model, view, silent[view.key])
    findings += [*_may_have_answered(model), *_incomplete(model), *_settings(model, certain), *_deferred(model)]
    findings.sort(key=lambda f: -f.level)
    level = findings[0].level if findings else Level.OK
    commands = tuple(dict.fromkeys(f.command for f in findings if f.command and _possible(model, f.command)))
    return Verdict(level, _headline(model), tuple(findings), commands or (f"halfopen watch{_here(model)}",))


def _possible(model: Model, command: str) -> bool:
    """Where netlink is refused, a release is as well: it would end with 3."""
    return model.sample.completeness.source != "proc" or not command.startswith("halfopen release")


def _headline(model: Model) -> str:
    text = plural(model.half_open, "half-open connection")
    if model.half_open:
        busy = [v for v in model.listeners if v.half_open]
        text += f", the oldest {show_duration(model.oldest_s)}"
        if len(busy) == 1 and busy[0].half_open == model.half_open:
            text += f", all on {listener_name(busy[0])}"
        elif busy:
            text += f", {busy[0].half_open:,} of them on {listener_name(busy[0])}"
        if model.may_have_answered:
            everyone = model.may_have_answered == model.half_open
            text += f"; {'they' if everyone else f'{model.may_have_answered:,} of them'} may have answered"
    if model.sample.lives_in and model.sample.netns != "self":
        text += f" in {model.sample.lives_in}"
    return text


def _incomplete(model: Model) -> list[Finding]:
    kept = model.sample.completeness
    problems = [Finding("incomplete-reading", Level.WARNING, f"this reading is not whole: {p}") for p in kept.problems]
    return problems + [Finding("not-shown", Level.OK, note) for note in kept.notes]


def _release_command(model: Model, view: ListenerView | None, older_s: float | None) -> str:
    words = f"halfopen release{_here(model)}"
    if view is not None:
        words += f" --listener {listener_argument(view)}"
    if older_s is not None:
        words += f" --older-than {older_s:g}s"
    return words if view is not None or older_s is not None else f"{words} --all"


def _accept_queue(model: Model, view: ListenerView) -> list[Finding]:
    limit = view.accept_queue_limit
    if not limit or view.accept_queue <= limit * MOST:
        return []
    who = f"{view.processes[0].name} (pid {view.processes[0].pid})" if view.processes else "its process"
    state = f"{view.accept_queue:,} of {limit:,} finished connections wait in the accept queue of {listener_name(view)}"
    if view.accept_queue < limit:
        return [Finding("accept-queue-filling", Level.NOTICE, f"{state}: {who} accepts too slowly")]
    look = f" (cat /proc/{view.processes[0].pid}/stack says where it is)" if view.processes else ""
    return [
        Finding(
            "accept-queue-full",
            Level.CRITICAL,
            f"{state}: {who} does not accept, so handshakes cannot finish; releasing half-open ones will not help, "
            f"a longer queue does if it is only slow{look}",
            _longer_queues(model, view),
        )
    ]


def _may_have_answered(model: Model) -> list[Finding]:
    if not model.may_have_answered:
        return []
    text = (
        f"{model.may_have_answered:,} of them may have answered: {model.doubt}, and the kernel ignores the last ACK of "
        "a handshake then; without eBPF that is not shown, and release leaves them alone"
    )
    return [Finding("may-have-answered", Level.WARNING, text, "halfopen doctor")]


def _syn_queue(model: Model, view: ListenerView, silent: ListenerView) -> list[Finding]:
    fill = view.fill
    name, held = listener_name(view), view.held
    # The kernel starts to prune above half, and above eight (`reqsk_timer_handler()`).
    if fill is None or not view.syn_queue_limit or held * 2 <= max(8, view.syn_queue_limit):
        return []
    cookies = model.sample.settings.get("tcp_syncookies", 1)
    # What is younger may still complete, and is not offered for release.
    command = _release_command(model, view, SLOW_S) if silent.ages.max > SLOW_S else None
    if fill >= NEARLY_ALL:
        effect = "new clients are let in by SYN cookies" if cookies else "new SYNs are dropped"
        return [
            Finding(
                "syn-queue-full",
                Level.WARNING if cookies else Level.CRITICAL,
                f"the SYN queue of {name} is full ({held:,} of {view.syn_queue_limit:,}): {effect}",
                _longer_queues(model, view),
            )
        ]
    text = f"the SYN queue of {name} is {fill:.0%} full ({held:,} of {view.syn_queue_limit:,})"
    if view.effective_release_time_s < view.release_time_s:
        now, usual = show_duration(view.effective_release_time_s), show_duration(view.release_time_s)
        text += f": the kernel now gives up after {now} instead of {usual}"
    return [Finding("syn-queue-filling", Level.WARNING, text, command)]


def _deferred(model: Model) -> list[Finding]:
    if not model.deferred:
        return []
    answered = [v for v in model.listeners if v.deferred and v.defers is False]
    others = model.deferred - sum(v.deferred for v in answered)
    found = []
    for view in answered:
        text = (
            f"{plural(view.deferred, 'client')} of {listener_name(view)} answered while its accept queue was full, and "
            "the kernel ignored the ACK: not half-open, in when there is room and they send"
        )
        found.append(Finding("answered", Level.NOTICE, text))
    if others:
        n = plural(others, "connection")
        text = f"{n} in SYN_RECV finished the handshake and wait for data (TCP_DEFER_ACCEPT): not half-open"
        found.append(Finding("deferred-accept", Level.NOTICE, text))
    return found


def _settings(model: Model, certain: Model) -> list[Finding]:
    found, many = [], model.half_open >= FEW
    held = {IPV4 + name: value for name, value in model.sample.settings.items()}
    should = needed({**held, SYNACK: model.retries}, many)
    if COOKIES in should:
        text = "SYN cookies are off (tcp_syncookies = 0): a full queue turns clients away"
        level = Level.WARNING if many else Level.NOTICE
        found.append(Finding("cookies-off", level, text, f"halfopen tune apply{_here(model)} --cookies on"))
    # A shorter release time drops those as well that answered and wait for room.
    if SYNACK in should and certain.half_open >= FEW:
        shorter = timing.release_time_s(2)
        text = (
            f"an unanswered half-open connection stays {show_duration(model.release_time_s)} "
            f"(tcp_synack_retries = {model.retries}); 2 would make it {show_duration(shorter)}"
        )
        found.append(Finding("release-time-long", Level.NOTICE, text, shorten_command(model, shorter)))
    return found


def _cause(model: Model) -> list[Finding]:
    """Why there are many, as far as ages, retransmissions and sources tell."""
    n, found = model.half_open, []
    where = model.listeners[0] if model.listeners and model.listeners[0].half_open > n * MOST else None
    # What is younger than this may still complete, and is not offered for release.
    command = _release_command(model, where, SLOW_S) if model.oldest_s > SLOW_S else None
    fresh = f"{model.arrivals_per_s:,} in the last second" if model.arrivals_per_s else "none new in the last second"
    if model.oldest_s < 1.0 and n < MANY:
        text = (
            f"{n:,} handshakes are under way, none older than a second: a burst of clients, or a flood that just began"
        )
        return [Finding("burst", Level.NOTICE, text)]
    top = model.sources[0] if model.sources else None
    if top is not None and top.share >= MOST:
        text = f"{top.share:.0%} come from {top.prefix} ({top.half_open:,}; {fresh}): a few sources that never answer"
        aimed = f"halfopen release{_here(model)} --source {top.prefix} --older-than {SLOW_S:g}s" if command else None
        found.append(Finding("few-sources", Level.WARNING, text, aimed))
    elif model.distinct_sources > n * SPREAD:
        level = Level.CRITICAL if n >= MANY else Level.WARNING
        text = f"{n:,} from {model.distinct_sources:,} addresses ({fresh}): a SYN flood from spoofed addresses"
        found.append(Finding("spoofed-flood", level, text, command))
    old = sum(sum(v.retransmits[2:]) for v in model.listeners) / n
    if old >= MOST:
        text = f"{old:.0%} left two or more SYN-ACKs unanswered: no client behind them, or the way back to it is cut"
        found.append(Finding("unanswered", Level.WARNING, text, command))
    if not found:
        text = f"{n:,} wait for the client's last ACK, the oldest for {show_duration(model.oldest_s)} ({fresh})"
        text += ": slow or lossy paths"
        found.append(Finding("slow-clients", Level.WARNING, text, command))
    return found
