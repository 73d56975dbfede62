"""The section [alarm]: when unanswered connections are an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.stages import Timing
from halfopen.core.sections.option import option
from halfopen.core.sections.words import Duration, number, whole

_USUAL: Final = Sensitivity()


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """When unanswered connections are an alarm ([detection](detection.md)); the defaults suit most servers."""

    minimum: Annotated[int, whole(1)] = option(_USUAL.minimum, "no alarm for fewer unanswered connections")
    factor: Annotated[float, number(1)] = option(
        _USUAL.factor, "an alarm needs at least this many times the usual number"
    )
    sigmas: Annotated[float, number()] = option(
        _USUAL.sigmas, "and at least this many standard deviations above the usual"
    )
    calm_s: Duration = option(_USUAL.timing.clears_s, "an alarm ends after this long without a sign")
    FORMER: ClassVar[Mapping[str, str]] = {
        "window": "window is not used any more: the usual share of unanswered connections is learned over half an hour"
    }

    def sensitivity(self) -> Sensitivity:
        """The same for detection."""
        timing = Timing(clears_s=self.calm_s)
        return Sensitivity(self.minimum, factor=self.factor, sigmas=self.sigmas, timing=timing)
