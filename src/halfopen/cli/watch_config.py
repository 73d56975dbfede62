"""`halfopen watch --config`: the file, what it asks for together with the command line, and a check of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from halfopen.core.config import WatchSettings
    from halfopen.core.policy.policy import Policy
    from halfopen.ops.watch.reloading import InForce

# A file of settings has a few hundred bytes.
_CONFIG_BYTES = 1024 * 1024


class Words(Struct, frozen=True):
    """The words of the command line that a configuration file has too; they win over the file, at a reload as well."""

    listener: Sequence[str] = ()
    source: Sequence[str] = ()
    interval: str | None = None
    release_older_than: str | None = None
    reason: str | None = None

    def on(self, settings: WatchSettings) -> InForce:
        """What is asked for on top of these settings. Raises: UsageError."""
        from halfopen.ops.watch.reloading import InForce

        interval_s = settings.interval_s if self.interval is None else _interval(self.interval)
        return InForce(settings, _policy(settings, self), interval_s)


def load(path: str) -> WatchSettings:
    """The settings in a file. Raises: ConfigError."""
    from halfopen.core.config import parse
    from halfopen.core.errors import ConfigError
    from halfopen.ops.watch.sinks import check, keys

    if not path:
        raise ConfigError("--config ''", "", "is not a file name")
    try:
        return parse(_read(path).decode(), path, keys(), check)
    except FileNotFoundError:
        hint = "--config names another file; halfopen service install writes a sample"
        raise ConfigError(path, "", "there is no such file", hint=hint) from None
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "is not UTF-8 text") from None
    except ValueError as e:  # a name with a zero byte
        raise ConfigError(path, "", str(e)) from None


def _read(path: str) -> bytes:
    from halfopen.core.errors import ConfigError
    from halfopen.core.units import show_bytes
    from halfopen.linux import small_files

    data = small_files.must_read(path, _CONFIG_BYTES + 1)
    if len(data) > _CONFIG_BYTES:
        raise ConfigError(path, "", f"is larger than {show_bytes(_CONFIG_BYTES)}", hint="is it the right file?")
    return data


def checked_lines(path: str, wanted: InForce) -> Iterator[str]:
    """What a check of the file prints: whatever it sets; secrets are never shown. Raises: ConfigError."""
    from halfopen.core.config import set_by
    from halfopen.core.units import printable
    from halfopen.present.chosen_words import rephrased
    from halfopen.present.language import tr

    _check_secrets(path, wanted.settings)
    found = set_by(wanted.settings)
    valid = tr("{path}: valid; it sets", path=printable(path))
    yield valid if found else tr("{path}: valid; it sets nothing", path=printable(path))
    for title, lines in found:
        if title:
            yield f"  {title}"
        yield from (f"  {'  ' if title else ''}{line}" for line in lines)
    yield tr("Every other key has its default.")
    for one in wanted.policy.releases:
        name = tr("Policy {name}", name=one.name) if one.name else tr("The release by age")
        what = rephrased(one.describe())
        yield tr("{name} releases: {what}.", name=name, what=what) if one.acts else _observes(name, what)
    guard = wanted.policy.protect
    if guard is not None:
        name, what = tr("The policy [protect]"), rephrased(guard.describe())
        yield tr("{name} arms a guard: {what}.", name=name, what=what) if guard.acts else _observes(name, what)


def _observes(name: str, what: str) -> str:
    from halfopen.present.language import tr

    return tr("{name} only observes: {what}.", name=name, what=what)


def _check_secrets(path: str, settings: WatchSettings) -> None:
    """See that no file with a secret, as far as it is there, is open to others. Raises: ConfigError."""
    from halfopen.core.sections.lines import lines_of
    from halfopen.core.sections.reading import KeyPlace
    from halfopen.notify.secrets import open_to_others

    for place, one in enumerate(settings.notify):
        if one.secret_file and open_to_others(one.secret_file):
            spot = KeyPlace(path, lines_of(_read(path).decode())).at("notify", place, "secret_file")
            raise spot.error(f"{one.secret_file} could be read by others", f"chmod 600 {one.secret_file}")


def _interval(text: str) -> float:
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    seconds = duration_s(text, what="--interval")
    if not 0.05 <= seconds <= 3600:
        raise UsageError(f"--interval {text} is out of range", hint="give 50ms to 1h")
    return seconds


def _policy(settings: WatchSettings, words: Words) -> Policy:
    """The policy of the watch. Releases are limited to what is watched; `never` of the configuration also limits those
    that the command line asks for.
    """
    from halfopen.api import checked, make_filter
    from halfopen.core.errors import UsageError
    from halfopen.core.filters import Filter
    from halfopen.core.policy.policy import Policy
    from halfopen.core.policy.release_policy import by_filter
    from halfopen.core.sparing import Sparing
    from halfopen.core.units import duration_s

    watched = make_filter(listener=words.listener, source=words.source)
    narrowed = checked(Filter(None, None, watched.listeners or settings.listener, watched.sources or settings.source))
    releases = [one.policy(settings.never, narrowed) for one in settings.release]
    more = settings.by_age
    # An empty word is wrong usage, not "as if it were not there": it is what an unset shell variable leaves.
    older_s = more.older_than_s
    if words.release_older_than is not None:
        older_s = duration_s(words.release_older_than, what="--release-older-than")
        if not older_s:
            raise UsageError("--release-older-than 0 would release every handshake", hint="give an age, as in 15s")
    if older_s is not None:
        meant = Filter(older_s, None, (*narrowed.listeners, *more.listener), (*narrowed.sources, *more.source))
        sparing = Sparing(settings.never.listeners, settings.never.sources)
        releases.insert(0, by_filter(checked(meant), sparing))
    elif more.listener or more.source:
        raise UsageError("the release section needs older_than", hint='add older_than = "15s"')
    elif words.reason is not None and not any(one.acts for one in releases):
        raise UsageError("--reason applies to releases only", hint="add --release-older-than, as in 15s")
    protect = settings.protect.policy(settings.never)
    return Policy(settings.alarm.sensitivity(), tuple(releases), narrowed, words.reason or "", protect)
