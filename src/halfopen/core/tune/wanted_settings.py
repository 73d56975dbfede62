"""Turns what the user asks for, settings by name and goals, into the values to set."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from halfopen.core.errors import Unsupported, UsageError
from halfopen.core.tune.false_cures import FALSE_CURES
from halfopen.core.tune.goals import AS_ASKED, NO_GOALS, Goals, Values, WantedSetting, serving
from halfopen.core.tune.keys import SYN_BACKLOG
from halfopen.core.tune.prices import price
from halfopen.core.tune.settings import KEYS, advise, range_of


def full_key(word: str) -> str:
    """The full name of a setting given with or without its first parts, with dots or slashes.

    Raises: UsageError for one that is not in the registry; the error says so if it is one that articles recommend.
    """
    name = word.strip().removeprefix("/proc/sys/").replace("/", ".")
    for key in KEYS:
        if name == key or (name and key.endswith(f".{name}")):
            return key
    for cure in FALSE_CURES:
        if name == cure.key or cure.key.endswith(f".{name}"):
            raise UsageError(f"{cure.key} {cure.truth}", hint="halfopen tune show lists what helps")
    raise UsageError(f"{word!r} is not a setting that tune knows", hint="halfopen tune show lists them")


def assignment(text: str) -> WantedSetting:
    """The value in KEY=VALUE. Raises: UsageError, also for a value that the setting does not take."""
    word, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"-?\d{1,12}", value.strip(), re.ASCII):
        raise UsageError(f"--set {text!r} is not KEY=VALUE", hint="as in --set tcp_synack_retries=2")
    wanted = WantedSetting(full_key(word), int(value), AS_ASKED)
    must_be_taken(wanted)
    return wanted


def must_be_taken(wanted: WantedSetting) -> None:
    """Raises: UsageError for a value outside the setting's range."""
    least, most = range_of(wanted.key)
    if not least <= wanted.value <= most:
        name = wanted.key.rpartition(".")[2]
        raise UsageError(f"{name} = {wanted.value} is out of range", hint=f"{wanted.key} takes {least} to {most}")


def changes(
    values: Values,
    goals: Goals = NO_GOALS,
    sets: Sequence[WantedSetting] = (),
    only: Sequence[str] = (),
) -> list[WantedSetting]:
    """The settings to change: those asked for, and those that the goals need; without either, the recommended ones.

    With a goal, only what serves a goal is changed. only: full keys, nothing else is changed. Raises: UsageError.
    """
    asked = {w.key: w for w in sets}
    if len(asked) != len(sets):
        raise UsageError("a setting is given twice with --set")
    beside = {**values, **{w.key: w.value for w in sets}}
    found = [_priced(w, {**beside, w.key: values.get(w.key, w.value)}) for w in sets]
    if goals.empty and sets:
        return _only(found, only)
    for advice in advise(beside, goals):
        if advice.recommended is None or advice.key in asked:
            continue
        if goals.empty or advice.key in serving(goals):
            found.append(WantedSetting(advice.key, advice.recommended, advice.reason, advice.cost))
    return _only(found, only)


def _priced(w: WantedSetting, values: Values) -> WantedSetting:
    """The same change with its effect and its cost; values: those that will be set, but for this one."""
    effect = next((a.effect for a in advise({**values, w.key: w.value}) if a.key == w.key), w.reason)
    return WantedSetting(w.key, w.value, effect if w.reason == AS_ASKED else w.reason, price(w.key, w.value, values))


def _only(found: list[WantedSetting], only: Sequence[str]) -> list[WantedSetting]:
    return [w for w in found if not only or w.key in only]


def must_be_there(values: Values, goals: Goals) -> None:
    """Raises: Unsupported for a goal whose setting this kernel or namespace lacks."""
    for key in sorted(serving(goals) - {SYN_BACKLOG} - values.keys()):
        raise Unsupported(key, f"there is no {key} here, so this goal cannot be reached", hint="leave out that goal")


def kept(
    values: Values, goals: Goals, wanted: Sequence[WantedSetting], others: Collection[str], only: Sequence[str]
) -> list[WantedSetting]:
    """Settings to keep at their present value: those serving the goals, and `others`; not `wanted`."""
    idle = {a.key for a in advise(values, goals) if a.idle}
    keys = {*others, *(serving(goals) - idle)} - {w.key for w in wanted}
    found = [WantedSetting(key, values[key], "as it is") for key in KEYS if key in keys and key in values]
    return _only(found, only)
