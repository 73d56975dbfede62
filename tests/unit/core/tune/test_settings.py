"""Settings: what each amounts to beside the others, and goals turned into values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import Unsupported, UsageError
from halfopen.core.model import timing
from halfopen.core.tune import keys, settings, wanted_settings
from halfopen.core.tune.false_cures import FALSE_CURES
from halfopen.core.tune.goals import Goals, WantedSetting
from halfopen.core.tune.settings import Advice, advise, range_of
from halfopen.core.tune.wanted_settings import assignment, changes, full_key

DEBIAN = {
    keys.SYNACK: 5,
    keys.COOKIES: 1,
    keys.SYN_BACKLOG: 512,
    keys.SOMAXCONN: 4096,
    keys.ABORT: 0,
    keys.SYN_RETRIES: 6,
    keys.FIN_TIMEOUT: 60,
    keys.TW_REUSE: 2,
    keys.RTO_MAX: 120_000,
    keys.CONNTRACK + "syn_recv": 60,
    keys.CONNTRACK + "established": 432_000,
}


def test_a_setting_with_advice_is_not_called_a_false_cure_as_well() -> None:
    assert not set(settings.KEYS) & {cure.key for cure in FALSE_CURES}


def of(key: str, goals: Goals | None = None, **more: int) -> Advice:
    values = {**DEBIAN, **{f"net.ipv4.{k}": v for k, v in more.items()}}
    return next(a for a in advise(values, goals or Goals()) if a.key == key)


def test_the_release_time_is_in_seconds() -> None:
    found = of(keys.SYNACK)
    assert "63 s" in found.effect
    assert (found.recommended, "7 s instead of 63 s" in found.reason) == (2, True)
    assert found.cost
    assert of(keys.SYNACK, tcp_synack_retries=2).recommended is None
    assert of(keys.SYNACK, tcp_synack_retries=0).recommended is None  # shorter is the user's choice
    assert "6 min 7 s" in of(keys.SYNACK, tcp_synack_retries=8, tcp_rto_max_ms=30_000).effect


@pytest.mark.parametrize(("text", "retries"), [(1.0, 0), (3.0, 1), (6.9, 1), (7.0, 2), (63.0, 5), (10_000.0, 88)])
def test_a_release_time_becomes_retries(text: float, retries: int) -> None:
    [wanted] = changes({**DEBIAN, keys.SYNACK: 9}, Goals(release_time_s=text))
    assert (wanted.key, wanted.value) == (keys.SYNACK, retries)


def test_a_release_time_below_a_second_cannot_be() -> None:
    with pytest.raises(UsageError, match="is not possible"):
        changes(DEBIAN, Goals(release_time_s=0.5))


@given(st.floats(1, 5000))
def test_the_promise_of_a_release_time_is_kept(seconds: float) -> None:
    values = {**DEBIAN, keys.SYNACK: 255}
    retries = {w.key: w.value for w in changes(values, Goals(release_time_s=seconds))}.get(keys.SYNACK, 255)
    assert timing.release_time_s(retries) <= seconds


@pytest.mark.parametrize(("word", "value"), [("off", 0), ("always", 2)])
def test_cookies_in_words(word: str, value: int) -> None:
    [wanted] = changes(DEBIAN, Goals(cookies=word))
    assert (wanted.key, wanted.value) == (keys.COOKIES, value)
    assert changes(DEBIAN, Goals(cookies="on")) == []


def test_syn_backlog_counts_only_without_cookies() -> None:
    found = of(keys.SYN_BACKLOG)
    assert (found.idle, found.recommended) == (True, None)
    assert "does nothing while tcp_syncookies = 1" in found.effect
    without = of(keys.SYN_BACKLOG, tcp_syncookies=0, tcp_max_syn_backlog=64)
    assert not without.idle
    assert "more than 48" in without.effect


def test_room_for_half_open_connections() -> None:
    assert changes(DEBIAN, Goals(half_open=4096)) == []
    [one] = changes(DEBIAN, Goals(half_open=65536))
    assert (one.key, one.value) == (keys.SOMAXCONN, 65536)
    off = {w.key: w.value for w in changes(DEBIAN, Goals(half_open=65536, cookies="off"))}
    backlog = off[keys.SYN_BACKLOG]
    assert backlog - (backlog >> 2) >= 65536
    assert set(off) == {keys.SOMAXCONN, keys.SYN_BACKLOG, keys.COOKIES}


def test_a_goal_counts_on_what_is_set_beside_it() -> None:
    found = changes(DEBIAN, Goals(half_open=65536), [WantedSetting(keys.COOKIES, 0, "as asked for")])
    assert {w.key for w in found} == {keys.COOKIES, keys.SOMAXCONN, keys.SYN_BACKLOG}


def test_without_words_what_is_recommended_and_nothing_on_a_good_machine() -> None:
    bad = {**DEBIAN, keys.COOKIES: 0, keys.SOMAXCONN: 128, keys.ABORT: 1}
    found = {w.key: w.value for w in changes(bad)}
    assert found == {keys.SYNACK: 2, keys.COOKIES: 1, keys.SOMAXCONN: 4096, keys.ABORT: 0}
    assert changes({**DEBIAN, **found}) == []
    assert all(a.reason and a.cost for a in advise(bad) if a.recommended is not None)


def test_only_keeps_to_what_is_named() -> None:
    bad = {**DEBIAN, keys.COOKIES: 0}
    assert [w.key for w in changes(bad, only=[keys.COOKIES])] == [keys.COOKIES]


def test_set_alone_brings_nothing_else() -> None:
    [one] = changes(DEBIAN, sets=[assignment("somaxconn=8192")])
    assert (one.key, one.value) == (keys.SOMAXCONN, 8192)
    with pytest.raises(UsageError, match="twice"):
        changes(DEBIAN, sets=[assignment("somaxconn=1"), assignment("net.core.somaxconn=2")])


def test_conntrack_is_shown_where_it_is_loaded() -> None:
    assert "60 s" in of(keys.CONNTRACK + "syn_recv").effect
    assert {a.key for a in advise({k: v for k, v in DEBIAN.items() if keys.CONNTRACK not in k})} == {
        k for k in DEBIAN if keys.CONNTRACK not in k
    }


@pytest.mark.parametrize("word", ["tcp_syncookies", "net.ipv4.tcp_syncookies", "/proc/sys/net/ipv4/tcp_syncookies"])
def test_a_key_in_any_spelling(word: str) -> None:
    assert full_key(word) == keys.COOKIES


@pytest.mark.parametrize("word", ["", "kernel.panic", "../x", "syncookies", "ipv4", "net.ipv4.tcp_wmem"])
def test_an_unknown_key(word: str) -> None:
    with pytest.raises(UsageError, match="not a setting that tune knows"):
        full_key(word)


def test_a_cure_that_is_none_is_named_as_such() -> None:
    with pytest.raises(UsageError, match=r"left the kernel in 4\.12"):
        full_key("tcp_tw_recycle")


@pytest.mark.parametrize("text", ["somaxconn", "somaxconn=", "somaxconn=many", "somaxconn=1e3", "=1", "somaxconn=1 2"])
def test_a_bad_assignment(text: str) -> None:
    with pytest.raises(UsageError):
        assignment(text)


@given(
    st.fixed_dictionaries({}, optional={k: st.integers(0, 2**31 - 1) for k in settings.KEYS}),
    st.sampled_from([None, "on", "off", "always"]),
    st.none() | st.integers(1, 2**30),
    st.none() | st.floats(1, 1e6),
)
def test_following_the_advice_leaves_nothing_to_advise(
    values: dict[str, int], cookies: str | None, half_open: int | None, release_s: float | None
) -> None:
    goals = Goals(release_s, cookies, half_open)
    found = changes(values, goals)
    assert changes({**values, **{w.key: w.value for w in found}}, goals) == []


def test_a_goal_that_nothing_here_can_serve_is_refused() -> None:
    there = {keys.SYNACK: 5, keys.SOMAXCONN: 128}
    wanted_settings.must_be_there(there, Goals(release_time_s=7.0, half_open=9))
    with pytest.raises(Unsupported, match=r"there is no net\.ipv4\.tcp_syncookies here"):
        wanted_settings.must_be_there(there, Goals(cookies="on"))


def test_what_is_so_already_is_kept_where_it_serves() -> None:
    values = {keys.SYNACK: 2, keys.COOKIES: 1, keys.SOMAXCONN: 4096, keys.SYN_BACKLOG: 2048}
    seven = Goals(release_time_s=7.0)
    assert [(w.key, w.value) for w in wanted_settings.kept(values, seven, [], (), ())] == [(keys.SYNACK, 2)]
    assert wanted_settings.kept(values, seven, [WantedSetting(keys.SYNACK, 1, "")], (), ()) == []
    # tcp_max_syn_backlog does nothing beside cookies, so it is not kept.
    assert [w.key for w in wanted_settings.kept(values, Goals(half_open=100), [], (), ())] == [keys.SOMAXCONN]
    others = {keys.SYNACK, keys.COOKIES}
    assert [w.key for w in wanted_settings.kept(values, Goals(), [], others, [keys.COOKIES])] == [keys.COOKIES]


@pytest.mark.parametrize("key", settings.KEYS)
def test_a_value_outside_the_range_is_refused_and_the_range_named(key: str) -> None:
    least, most = range_of(key)
    for value in (least, most):
        assert assignment(f"{key}={value}").value == value
    for value in (least - 1, most + 1, 10**11):
        with pytest.raises(UsageError, match="out of range") as caught:
            assignment(f"{key}={value}")
        assert f"{key} takes {least} to {most}" in caught.value.line()


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("tcp_syncookies=0", {}, "locks new clients out"),
        ("tcp_syncookies=2", {}, "always lose window scaling"),
        ("tcp_synack_retries=0", {}, "one SYN-ACK only"),
        ("tcp_synack_retries=1", {}, "lost for 3 s"),
        ("tcp_synack_retries=9", {}, "stay longer"),
        ("somaxconn=8192", {}, "running listeners keep their backlog"),
        ("somaxconn=128", {}, "at most 128"),
        ("tcp_abort_on_overflow=1", {}, "resets clients"),
        ("tcp_max_syn_backlog=9999", {keys.COOKIES: 0}, "kernel memory"),
        ("tcp_max_syn_backlog=8", {keys.COOKIES: 0}, "more than 6 half-open connections"),
        ("nf_conntrack_tcp_timeout_established=60", {}, "break"),
    ],
)
def test_a_price_is_named(text: str, values: dict[str, int], words: str) -> None:
    [one] = changes({**DEBIAN, **values}, sets=[assignment(text)])
    assert words in one.cost


def test_what_is_set_does_is_said_beside_what_else_is_set() -> None:
    """Not "as asked for": what it does then, at the values that the other settings have by then."""
    [one] = changes(DEBIAN, sets=[assignment("tcp_max_syn_backlog=9999")])
    assert (one.reason, one.cost) == ("does nothing while tcp_syncookies = 1", "")
    found = changes(DEBIAN, sets=[assignment("tcp_max_syn_backlog=9999"), assignment("tcp_syncookies=0")])
    assert "only proven peers get in" in found[0].reason
    assert "kernel memory" in found[0].cost


def test_every_recommendation_that_is_chosen_keeps_its_price() -> None:
    bad = {**DEBIAN, keys.COOKIES: 0, keys.SOMAXCONN: 128, keys.ABORT: 1}
    assert all(w.cost for w in changes(bad))
    assert "1 s never gets in" in changes(DEBIAN, Goals(release_time_s=1.0))[0].cost
