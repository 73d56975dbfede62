"""What the releases of an incident may have done to completed connections: the report and the page say the same."""

from __future__ import annotations

from halfopen.core.postmortem import Harm
from halfopen.present.language import tr


def harm_words(harm: Harm) -> str:
    """How many completed connections the releases of an incident can have reset, and how that is known."""
    if not harm.releases:
        return tr("0: nothing was released, and nothing else that the watch does ends a connection")
    if harm.most is None and harm.kept < harm.releases:
        return tr("not known: only {kept} of {n} releases are recorded individually", kept=harm.kept, n=harm.releases)
    if harm.most is None:
        return tr("not known: resets could not be counted during a release")
    if harm.behind_door == harm.releases:
        return tr("0: with the door held, no connection could complete during a release and be reset")
    return tr(
        "at most {n:,}: RSTs that the namespace sent, for any reason, during {m} of {all} releases without the door",
        n=harm.most, m=harm.releases - harm.behind_door, all=harm.releases,
    )  # fmt: skip
