"""The sections [[release]], a policy each, and [never]: whom no release of `watch` touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from halfopen.core.errors import Unfit, UsageError
from halfopen.core.filters import Filter
from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
from halfopen.core.findings.registry import RULES, OnRelease
from halfopen.core.policy.release_policy import ReleasePolicy
from halfopen.core.sections.option import needed, option
from halfopen.core.sections.words import Duration, Endpoints, PerSecond, Prefixes, Share, Word, duration, one_of, whole
from halfopen.core.sparing import Sparing

REASONS: Final = tuple(id for id, rule in RULES.items() if rule.on_release is OnRelease.REASON)
"""The causes that a policy may name."""
_KNOWN_REASON: Final = one_of(REASONS)
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _read_name(raw: Any) -> str:
    if isinstance(raw, str) and 0 < len(raw) <= 40 and set(raw) <= _NAME_CHARACTERS:
        return raw
    raise UsageError("is not a name", hint="use a to z, 0 to 9, - and _, at most 40 of them")


def _read_cause(raw: Any) -> str:
    if isinstance(raw, str) and raw in RULES and RULES[raw].on_release is OnRelease.FORBIDS:
        raise UsageError(f'"{raw}" forbids a release: these clients get in once its cause is gone')
    cause: str = _KNOWN_REASON.read(raw)
    return cause


NAME: Final = Word("a name", _read_name, lambda name: f'"{name}"')
CAUSE: Final = Word(_KNOWN_REASON.what, _read_cause, _KNOWN_REASON.write)


@dataclass(frozen=True, slots=True)
class NeverSettings:
    """Connections that no release of `watch` touches, whichever policy or option asks for it."""

    listeners: Endpoints = option((), "connections to these listeners, which no policy guards either")
    sources: Prefixes = option((), "connections from these prefixes")


@dataclass(frozen=True, slots=True)
class ReleaseSettings:
    """A policy that releases half-open connections while all of its conditions hold at a listener."""

    name: Annotated[str, NAME] = needed("how lines and records name the policy; each policy has its own")
    mode: Literal["observe", "act"] = option(
        "observe", "`observe` writes down what the policy would release, once for each incident; `act` releases"
    )
    older_than_s: Annotated[float, duration(1)] | None = option(None, "only connections of this age and older")
    retransmits: Annotated[int, whole(1, 255)] | None = option(
        None, "only connections whose SYN-ACK was retransmitted at least this often; a policy needs this or older_than"
    )
    causes: tuple[Annotated[str, CAUSE], ...] = option(
        (), "only while an alarm is on at the listener whose confirmed cause is one of these"
    )
    fuller_than: Share | None = option(None, "only while more than this share of the listener's SYN queue is used")
    listeners: Endpoints = option((), "only at these listeners")
    sources: Prefixes = option((), "only from these prefixes")
    budget: PerSecond = option(5000, "release at most this many connections a second")
    spare_clients_s: Duration = option(
        3600.0,
        "leave alone sources that have an established connection, finished a handshake while halfopen counted, or "
        'ended a connection in good order within this time (the kernel\'s tcp_metrics); `"0s"`: nobody',
    )

    def check(self) -> None:
        """Raises: Unfit."""
        if self.older_than_s is None and self.retransmits is None:
            raise Unfit("", "needs older_than or retransmits", hint='add older_than = "3s": a handshake takes less')

    def policy(self, never: NeverSettings, narrowed: Filter) -> ReleasePolicy:
        """The policy. narrowed: the listeners and sources that are watched at all."""
        sparing = Sparing(never.listeners, never.sources, self.spare_clients_s or None)
        return ReleasePolicy(
            self.name,
            Filter(self.older_than_s, self.retransmits),
            acts=self.mode == "act",
            sparing=sparing,
            fuller_than=self.fuller_than,
            causes=frozenset(self.causes),
            listeners=self.listeners or narrowed.listeners,
            sources=self.sources or narrowed.sources,
            budget_per_s=self.budget,
        )


@dataclass(frozen=True, slots=True)
class ByAgeSettings:
    """One policy by age alone, which acts, as earlier versions had it: [release] with single brackets."""

    older_than_s: Duration | None = option(None, "release connections once they reach this age")
    listener: Endpoints = option((), "only those of this listener; every one that is given must fit")
    source: Prefixes = option((), "only those from this prefix; every one that is given must fit")

    def check(self) -> None:
        """Raises: Unfit."""
        if self.older_than_s == 0:
            raise Unfit("older_than", "would release every handshake", hint='give an age, as in "15s"')
