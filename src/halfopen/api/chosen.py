"""What a caller chooses, as Python values or as words of the command line: filters, times, namespaces."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from halfopen.core.errors import UsageError
from halfopen.core.filters import Filter
from halfopen.core.units import duration_s, endpoint, prefix
from halfopen.linux.netns import Netns, current, resolve


def make_filter(
    *,
    older_than: str | float | None = None,
    retransmits: int | None = None,
    listener: str | Iterable[str] = (),
    source: str | Iterable[str] = (),
) -> Filter:
    """A Filter from words as the command line takes them: `older_than="10s"`, `listener=":443"`, `source="10.0.0.0/8"`.

    `older_than`: an age as text, or a number of seconds from 0 up. `retransmits`: SYN-ACKs sent again, 0 to 255, at
    least. `listener`, `source`: one, or several that must all hold. Without conditions the Filter lets everything
    through.

    Raises: UsageError for a value that is malformed or out of range, and for conditions that exclude each other.
    """
    if isinstance(older_than, str):
        older_than = duration_s(older_than, what="--older-than")
    if older_than is not None and not (_is_number(older_than) and older_than >= 0):  # NaN too
        raise UsageError(f"--older-than {older_than} is not possible", hint="give a number of seconds from 0 up")
    if retransmits is not None and not (_is_number(retransmits) and 0 <= retransmits <= 255):
        raise UsageError(f"--retransmits {retransmits} is not possible", hint="give a number from 0 to 255")
    listeners, sources = _words(listener, "listener", ":443"), _words(source, "source", "10.0.0.0/8")
    return checked(
        Filter(older_than, retransmits, tuple(endpoint(x) for x in listeners), tuple(prefix(x) for x in sources))
    )


def _is_number(value: object) -> bool:
    """True and False are none: `older_than=True` would be one second."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(given: object, name: str, example: str) -> tuple[str, ...]:
    """One word, or several, without those that come twice. Raises: UsageError for anything else, such as a port."""
    words = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    found = tuple(dict.fromkeys(word for word in words if isinstance(word, str)))
    if not all(isinstance(word, str) for word in words):
        raise UsageError(f"{name} must be text, not {given!r}", hint=f'for example {name}="{example}"')
    return found


def checked(made: Filter) -> Filter:
    """The filter without repeated conditions.

    Raises: UsageError when no connection can meet all its conditions.
    """
    listeners, sources = tuple(dict.fromkeys(made.listeners)), tuple(dict.fromkeys(made.sources))
    made = replace(made, listeners=listeners, sources=sources)
    if both := made.contradiction():
        raise UsageError(f"no connection can match {both}: all conditions must hold", hint="use one of them at a time")
    return made


def namespace(netns: str | Netns | None) -> Netns | None:
    """The namespace that NAME, PATH, pid:N or "self" means; None stays None, the process's own.

    Raises: UsageError for "all", UnknownTarget.
    """
    if isinstance(netns, str):
        if netns == "all":
            raise UsageError("--netns all is not possible here", hint="name one namespace: NAME, PATH or pid:N")
        if netns == "self":
            return current()
        return resolve(netns)
    if netns is not None and not isinstance(netns, Netns):
        raise UsageError(f"netns must be text, not {netns!r}", hint='NAME, PATH or pid:N; for example netns="pid:4711"')
    return netns


def seconds_of(time: str | float | None, name: str) -> float | None:
    """A time of more than 0 s and at most a year, given as "10s" or in seconds; `name` stands in the error.

    Raises: UsageError.
    """
    seconds = duration_s(time, what=name) if isinstance(time, str) else time
    if seconds is not None and not (_is_number(seconds) and 0 < seconds <= 365 * 86400):  # NaN too
        raise UsageError(f"{name} = {time} is not possible", hint="give a time as 10s or 2h, or a number of seconds")
    return seconds
