"""The section [protect]: listeners that `watch` guards by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from halfopen.core.errors import Unfit
from halfopen.core.policy.guard_policy import GuardPolicy
from halfopen.core.sections.option import option
from halfopen.core.sections.release import NeverSettings
from halfopen.core.sections.words import Endpoints, share


@dataclass(frozen=True, slots=True)
class ProtectSettings:
    """Listeners whose SYNs are answered without keeping state while their SYN queue fills ([protect](protect.md))."""

    listeners: Endpoints = option((), "guard these listeners; without any there is no such policy")
    when: Literal["incident", "always"] = option(
        "incident",
        "`incident`: the guard is armed when an alarm is on at one of the listeners and its SYN queue fills or its "
        "cause is a flood, and taken off when the incident is over; `always`: the guard stays armed",
    )
    mode: Literal["observe", "act"] = option(
        "observe", "`observe` writes down when the policy would arm a guard, once for each incident; `act` arms it"
    )
    at: Annotated[float, share()] = option(0.25, "the guard answers while a SYN queue is as full as this")

    def check(self) -> None:
        """Raises: Unfit."""
        if not self.listeners and self != ProtectSettings():
            raise Unfit("listeners", "names no listener", hint='as in listeners = [":443"]')

    def policy(self, never: NeverSettings) -> GuardPolicy | None:
        """The policy; None without listeners."""
        if not self.listeners:
            return None
        return GuardPolicy(
            self.listeners, self.at, always=self.when == "always", acts=self.mode == "act", never=never.listeners
        )
