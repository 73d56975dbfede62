"""The configuration of `watch`: these dataclasses are its only schema. An unknown key is an error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from halfopen.core.errors import ConfigError, UsageError
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.stages import Timing
from halfopen.core.units import duration_s, endpoint, prefix

# No number of connections, readings or deviations is higher.
_MOST: Final = 10**9


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """When unanswered connections are an alarm (`core.policy.detection.Sensitivity`). calm: so long until it ends."""

    minimum: int = 50
    factor: float = 3.0
    sigmas: float = 6.0
    calm: str = "10s"

    def sensitivity(self) -> Sensitivity:
        """The same for detection."""
        timing = Timing(clears_s=duration_s(self.calm, what="calm"))
        return Sensitivity(self.minimum, factor=self.factor, sigmas=self.sigmas, timing=timing)


@dataclass(frozen=True, slots=True)
class ReleaseSettings:
    """What watch releases as it goes; nothing unless older_than is set. listener and source narrow it further."""

    older_than: str = ""
    listener: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """A watch configuration file (TOML). listener and source: what is watched, and released, at all.

    max_cpu: the share of a processor that readings may use before they are spaced out; empty: 2% for the service, any
    in the foreground. sinks: what concerns further sinks, by the key in the file (`metrics_file`).
    """

    interval: str = "1s"
    netns: str = ""
    audit_log: str = ""
    alarm: AlarmSettings = field(default_factory=AlarmSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    listener: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    sinks: dict[str, str | bool] = field(default_factory=dict)
    max_cpu: str = ""


def parse(text: str, file: str, sinks: Mapping[str, type] | None = None) -> WatchSettings:
    """The configuration in TOML `text`; `file` names it in errors, and `sinks` are the keys of sinks, with the types of
    their values.

    Raises: ConfigError (syntax, unknown key, wrong type or value).
    """
    import tomllib

    import msgspec

    try:
        raw: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as e:  # also of a number, or brackets, beyond what Python takes
        raise ConfigError(file, "", str(e)) from None
    targets = _targets(raw, file, sinks or {})
    _former(raw, file)
    _known(raw, WatchSettings(), file, "", sinks or {})
    try:
        parsed = msgspec.convert({**raw, "sinks": targets}, WatchSettings)
    except msgspec.ValidationError as e:
        message, _, where = str(e).partition(" - at ")
        raise ConfigError(file, where.strip("`$. "), message) from None
    a = parsed.alarm
    ones = all(1 <= n <= _MOST for n in (a.minimum, a.factor))  # and so neither nan nor inf
    if not (ones and 0 <= a.sigmas <= _MOST):
        raise ConfigError(file, "alarm", "out of range", hint="minimum, factor >= 1; sigmas >= 0")
    _words(parsed, file)
    return parsed


def _targets(raw: dict[str, Any], file: str, sinks: Mapping[str, type]) -> dict[str, str | bool]:
    """Take out of `raw` what concerns sinks: `a_b = …`, or `b = …` in the section `[a]`."""
    places = {key: key for key in sinks if key in raw}
    found = {key: raw.pop(key) for key in places}
    for section in dict.fromkeys(key.partition("_")[0] for key in sinks):
        inner = raw.pop(section, None) if isinstance(raw.get(section), dict) else None
        known = [key.partition("_")[2] for key in sinks if key.startswith(f"{section}_")]
        for name, value in (inner or {}).items():
            key, place = f"{section}_{name}", f"{section}.{name}"
            if name not in known:
                raise ConfigError(file, place, "unknown key", hint=f"known here: {', '.join(known)}")
            if key in found:
                raise ConfigError(file, place, f"is there twice, as {key} too")
            found[key], places[key] = value, place
    for key, value in found.items():
        if type(value) is not sinks[key]:
            wanted = "true or false" if sinks[key] is bool else "a text"
            raise ConfigError(file, places[key], f"is not {wanted}")
    return found


def _words(parsed: WatchSettings, file: str) -> None:
    """The words that are durations, endpoints and prefixes, refused by the file and key they stand under."""
    release = parsed.release
    checks: list[tuple[str, str, Callable[..., object]]] = [("interval", parsed.interval, duration_s)]
    checks.append(("alarm.calm", parsed.alarm.calm, duration_s))
    if parsed.max_cpu:
        checks.append(("max_cpu", parsed.max_cpu, cpu_share))
    if release.older_than:
        checks.append(("release.older_than", release.older_than, duration_s))
    checks += [("listener", word, endpoint) for word in parsed.listener]
    checks += [("source", word, prefix) for word in parsed.source]
    checks += [("release.listener", word, endpoint) for word in release.listener]
    checks += [("release.source", word, prefix) for word in release.source]
    for key, word, read in checks:
        try:
            read(word, what="")
        except UsageError as e:
            raise ConfigError(file, key, e.message.strip(), hint=e.hint) from None


def cpu_share(text: str, *, what: str) -> float:
    """A share of one processor, as in 2%. what: names it in errors. Raises: UsageError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / 100 if number != text and number.replace(".", "", 1).isdecimal() else 0.0
    except ValueError:
        share = 0.0
    if not 0.001 <= share <= 1:
        raise UsageError(f"{what} {text!r} is not a share of a processor", hint="give 0.1% to 100%, as in 2%")
    return share


def _former(raw: dict[str, Any], file: str) -> None:
    """Refuse keys that meant something else before."""
    alarm = raw.get("alarm")
    if not isinstance(alarm, dict):
        return
    if "window" in alarm:
        hint = "leave it out: the usual share of unanswered connections is learned over half an hour"
        raise ConfigError(file, "alarm.window", "is not used any more", hint=hint)
    if isinstance(alarm.get("calm"), int):
        raise ConfigError(
            file, "alarm.calm", "is a time, not a number of readings", hint='give one, as in calm = "10s"'
        )


def _known(raw: dict[str, Any], default: Any, file: str, where: str, more: Collection[str] = ()) -> None:
    # msgspec passes over unknown keys of dataclasses; a misspelt key must not pass as a default.
    names = [*(name for name in default.__dataclass_fields__ if name != "sinks"), *more]
    for key, value in raw.items():
        if key not in names:
            raise ConfigError(file, f"{where}{key}", "unknown key", hint=f"known here: {', '.join(names)}")
        inner = getattr(default, key)
        if isinstance(value, dict) and hasattr(inner, "__dataclass_fields__"):
            _known(value, inner, file, f"{where}{key}.")
