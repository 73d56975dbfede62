"""The configuration of `watch`: a dataclass for each section, its only schema. An unknown key is an error.

A further section is a dataclass in a file of `core/sections`, and a line in `WatchSettings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from halfopen.core.errors import ConfigError, Unfit
from halfopen.core.sections.alarm import AlarmSettings
from halfopen.core.sections.lines import lines_of
from halfopen.core.sections.notify import NotifySettings, check_all
from halfopen.core.sections.option import option, options, section
from halfopen.core.sections.protect import ProtectSettings
from halfopen.core.sections.reading import KeyPlace, read
from halfopen.core.sections.release import ByAgeSettings, NeverSettings, ReleaseSettings
from halfopen.core.sections.web import WebSettings
from halfopen.core.sections.words import FLAG, Endpoints, Prefixes, duration, nearest, quoted, share

# Some editors begin a file in UTF-8 with it.
_BOM: Final = "\ufeff"


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """A watch configuration file (TOML).

    by_age: the section [release], which earlier versions had in the place of [[release]]. sinks: what concerns the
    sinks of `ops/watch/sinks.py`, by the key in the file (`metrics_file`).
    """

    interval_s: Annotated[float, duration(0.05, 3600)] = option(1.0, "time between the starts of readings")
    max_cpu: Annotated[float, share(0.001)] | None = option(
        None,
        "the share of one processor that readings may use before they are spaced out; not set: `2%` for the service, "
        "any in the foreground",
        restart=True,
    )
    netns: str = option("", "the network namespace to watch, or `all`; empty: that of the process", restart=True)
    audit_log: str = option("", "the audit log; empty: [the usual file](safety.md#the-audit-log)", restart=True)
    listener: Endpoints = option((), "watch only this listener; if several are given, all must match")
    source: Prefixes = option((), "watch only connections from this prefix; if several are given, all must match")
    alarm: AlarmSettings = section(AlarmSettings)
    never: NeverSettings = section(NeverSettings)
    release: tuple[ReleaseSettings, ...] = option((), "")
    protect: ProtectSettings = section(ProtectSettings)
    notify: tuple[NotifySettings, ...] = option((), "")
    web: WebSettings = section(WebSettings, restart=True)
    language: Literal["", "en", "zh"] = option(
        "",
        "language of the output for people; empty: that of the environment, English for the service",
        restart=True,
    )
    by_age: ByAgeSettings = field(default_factory=ByAgeSettings)
    sinks: Mapping[str, str | bool] = field(default_factory=dict)


def parse(
    text: str,
    file: str,
    sinks: Mapping[str, type] | None = None,
    check: Callable[[Mapping[str, str | bool]], None] = lambda found: None,
) -> WatchSettings:
    """The configuration in TOML `text`; `file` names it in errors, and `sinks` are the keys of sinks, with the types of
    their values, which `check` is asked about; it raises Unfit.

    Raises: ConfigError (syntax, unknown key, wrong type or value), which names file, line and key.
    """
    import tomllib

    text = text.removeprefix(_BOM)
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(file, "", "is nested too deeply") from None
    except ValueError as e:
        if not isinstance(e, tomllib.TOMLDecodeError):  # of int(), which counts the digits first
            raise ConfigError(file, "", "holds a number of too many digits") from None
        said, _, at = str(e).partition(" (at line ")
        line = at.partition(",")[0]
        raise ConfigError(file, "", said, line=int(line) if line.isdecimal() else None) from None
    spot = KeyPlace(file, lines_of(text))
    targets = _targets(raw, spot, sinks or {}, check)
    by_age = ByAgeSettings()
    if isinstance(raw.get("release"), dict):
        by_age = _by_age(raw.pop("release"), spot.at("release"))
    # The sections of sinks are taken out of `raw` already.
    beside = tuple(dict.fromkeys(key.partition("_")[0] for key in sinks or {}))
    parsed = replace(read(WatchSettings, raw, spot, beside), sinks=targets, by_age=by_age)
    _names_differ(parsed.release, spot.at("release"))
    try:
        check_all(parsed.notify)
    except Unfit as e:
        raise spot.at("notify").error(e.message, e.hint) from None
    return parsed


def _by_age(raw: dict[str, Any], spot: KeyPlace) -> ByAgeSettings:
    known = options(ByAgeSettings)
    for key in raw:
        if key not in known and key in options(ReleaseSettings):
            raise spot.at(key).error("is a key of a policy", hint="write [[release]], with a name, for a policy")
    return read(ByAgeSettings, raw, spot)


def _names_differ(policies: Sequence[ReleaseSettings], spot: KeyPlace) -> None:
    for place, one in enumerate(policies):
        if any(one.name == other.name for other in policies[:place]):
            raise spot.at(place, "name").error(f'"{one.name}" is the name of another policy too')


def given(settings: object, kind: type, title: str = "", path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Whatever differs from the defaults, as TOML: each section by its title (`[alarm]`, `[[release]]`; empty for the
    top of the file), with its lines; secrets are never shown.
    """
    lines, inner = [], []
    for key, one in options(kind).items():
        value = getattr(settings, one.name)
        if (value == one.default and not one.needed) or value is None:
            continue
        if one.section is None:
            lines.append(f"{key} = {one.written(value)}")
            continue
        name = f"{path}.{key}" if path else key
        head = f"[[{name}]]" if one.several else f"[{name}]"
        inner += [(each, one.section, head, name) for each in (value if one.several else (value,))]
    if lines:
        yield title, tuple(lines)
    for each in inner:
        yield from given(*each)


def set_by(settings: WatchSettings) -> list[tuple[str, tuple[str, ...]]]:
    """Whatever a file sets, as `given` has it."""
    sinks: dict[str, list[str]] = {}
    for name, value in settings.sinks.items():
        title, _, key = name.partition("_")
        sinks.setdefault(title, []).append(f"{key} = {quoted(value) if isinstance(value, str) else FLAG.write(value)}")
    found = [*given(settings, WatchSettings), *given(settings.by_age, ByAgeSettings, "[release]")]
    return [*found, *((f"[{title}]", tuple(lines)) for title, lines in sinks.items())]


def kept_until_restart(old: WatchSettings, new: WatchSettings) -> list[str]:
    """The keys that differ and that a reload leaves as they were."""
    keys = [
        key
        for key, one in options(WatchSettings).items()
        if one.restart and getattr(old, one.name) != getattr(new, one.name)
    ]
    return [*keys, *sorted(key for key in {*old.sinks, *new.sinks} if old.sinks.get(key) != new.sinks.get(key))]


def _targets(
    raw: dict[str, Any],
    spot: KeyPlace,
    sinks: Mapping[str, type],
    check: Callable[[Mapping[str, str | bool]], None],
) -> dict[str, str | bool]:
    """Take out of `raw` what concerns sinks: `a_b = …`, or `b = …` in the section `[a]`, which may have keys of its own
    as well (`[alarm]`).
    """
    places = {key: spot.at(key) for key in sinks if key in raw}
    found = {key: raw.pop(key) for key in places}
    ours = options(WatchSettings)
    for name in dict.fromkeys(key.partition("_")[0] for key in sinks):
        inner = raw.get(name)
        if not isinstance(inner, dict):
            continue
        if name not in ours:
            del raw[name]
        known = [key.partition("_")[2] for key in sinks if key.startswith(f"{name}_")]
        for part in list(inner):
            key, place = f"{name}_{part}", spot.at(name, part)
            if part not in known:
                if name in ours:
                    continue
                raise place.error("unknown key", hint=f"{nearest(part, known)}known here: {', '.join(known)}")
            value = inner.pop(part)
            if key in found:
                raise place.error(f"is given twice, also as {key}")
            found[key], places[key] = value, place
    for key, value in found.items():
        if type(value) is not sinks[key]:
            wanted = "true or false" if sinks[key] is bool else "a text"
            raise places[key].error(f"is not {wanted}", "" if sinks[key] is bool else "write it in quotes")
    try:
        check(found)
    except Unfit as e:
        raise places[e.key].error(e.message, e.hint) from None
    return found
