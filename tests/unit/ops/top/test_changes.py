"""Which release and which change the screen proposes."""

from __future__ import annotations

from msgspec.structs import replace

import live as made
from halfopen.core.filters import Filter
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Release
from halfopen.core.tune.keys import BACKLOG, SYNACK
from halfopen.ops.top.changes import AGES_S, next_age, release_of, tune_of

SPACE = made.space()
VIEW = SPACE.view(made.KEY)


def test_a_release_names_the_listener_the_age_and_the_incident() -> None:
    assert VIEW is not None
    action = release_of(SPACE, VIEW, 3.0, "why")
    assert action.filter.arguments() == " --listener :8080 --older-than 3s"
    assert (action.reason, action.incidents) == ("why", (SPACE.incidents[0].id,))
    bound = SPACE.view((2, "192.0.2.7", 9000, 0))
    assert bound is not None
    other = release_of(SPACE, bound, None, "why")
    assert other.filter.arguments() == " --listener 192.0.2.7:9000"
    assert other.incidents == ()


def test_ages_go_round() -> None:
    seen = [AGES_S[0]]
    for _ in AGES_S[1:]:
        seen.append(next_age(seen[-1]))
    assert tuple(seen) == AGES_S
    assert next_age(seen[-1]) == AGES_S[0]
    assert next_age(99.0) == AGES_S[0]


def test_the_change_is_the_first_one_that_is_no_release_and_no_look() -> None:
    where = SPACE.model.sample.where
    setting = ChangeSetting("self", SYNACK, 2, "shorter")
    backlog = ChangeListener("self", "0.0.0.0", 8080, BACKLOG, 4096, "longer")
    verdict = replace(SPACE.verdict, findings=(), next=((Release(where, Filter(), ""),), (setting, backlog)))
    assert tune_of(replace(SPACE, verdict=verdict), VIEW) == (setting, backlog)
    none = replace(SPACE.verdict, findings=(), next=((Look("self", "watch", ""),),))
    assert tune_of(replace(SPACE, verdict=none), VIEW) is None


def test_a_change_for_the_selected_listener_comes_first() -> None:
    full = SPACE.view((2, "192.0.2.7", 9000, 0))
    other = (ChangeSetting("self", SYNACK, 2, "shorter"),)
    mine = (ChangeListener("self", "192.0.2.7", 9000, BACKLOG, 4096, "longer"),)
    [found] = [one for one in SPACE.verdict.findings if one.listener is not None and one.listener.port == 9000]
    verdict = replace(SPACE.verdict, findings=(replace(found, cures=(mine,)),), next=(other,))
    assert tune_of(replace(SPACE, verdict=verdict), full) == mine
    assert tune_of(replace(SPACE, verdict=verdict), VIEW) == other
