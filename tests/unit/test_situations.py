"""Situations that people met or reported, each with the tests that play it: an index for readers.

A name of `halfopen lab --scene list` is played by tests/kernel/test_scenes.py and scored against what was measured; the
other names are tests.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from halfopen.lab.scenes import SCENES

TESTS: Final = Path(__file__).resolve().parents[1]
RULES: Final = "unit/core/findings"
SITUATIONS: Final[dict[str, tuple[str, ...]]] = {
    "bursts of honest clients meet a backlog of 5": (
        "backlog-tiny",
        f"{RULES}/test_queues.py::test_cookies_that_came_back_show_a_queue_too_short",
        f"{RULES}/test_queues.py::test_the_backlog_that_would_have_held_what_came",
    ),
    "a backlog of 0": (
        "backlog-zero",
        "kernel/test_verdicts.py::test_a_backlog_of_zero_that_nobody_accepts_from",
        f"{RULES}/test_queues.py::test_a_backlog_of_zero_takes_one",
    ),
    "one of four SO_REUSEPORT sockets is stuck": (
        "member-stuck",
        f"{RULES}/test_queues.py::test_one_stuck_socket_of_four_is_not_hidden_by_the_sum",
    ),
    "one of four SO_REUSEPORT sockets has a shorter backlog": (
        f"{RULES}/test_queues.py::test_the_shortest_backlog_of_a_group_is_told_and_not_the_mean",
    ),
    "an accept queue overflowed between two looks": (
        "recovered",
        f"{RULES}/test_queues.py::test_overflows_of_the_past_are_a_notice_and_present_ones_a_warning",
        f"{RULES}/test_settings.py::test_abort_on_overflow_counts_where_something_overflowed",
    ),
    "a proxy is the only source": (
        "behind-proxy",
        f"{RULES}/test_sources.py::test_a_host_that_finishes_others_is_never_accused",
        f"{RULES}/test_path_by_hosts.py::test_without_ebpf_no_number_is_made_up_of_those_that_finish",
    ),
    "honest clients are 1.4 s away": (
        "far-clients",
        f"{RULES}/test_path.py::test_far_clients_that_finish_are_healthy",
        f"{RULES}/test_sources.py::test_the_first_of_a_far_crowd_are_no_flood_before_their_round_trip_is_over",
    ),
    "a server has no file descriptor left": (
        "no-descriptors",
        "kernel/test_not_accepting.py::test_a_program_without_descriptors",
        f"{RULES}/test_accept.py::test_the_whole_system_has_no_room_for_an_open_file",
    ),
    "a listener counts drops, and nobody was turned away": (
        "kernel/test_verdicts.py::test_clients_that_do_not_hear_the_server_are_named_and_never_released",
        f"{RULES}/test_queues.py::test_drops_are_never_ok_and_drops_that_are_none_are",
    ),
    "twelve of twelve handshakes fail on one port": (
        "one-port-cut",
        f"{RULES}/test_path.py::test_clients_that_ask_again_do_not_hear_us",
        f"{RULES}/test_path.py::test_only_the_listener_that_is_cut_off_is_named",
    ),
    "SYN cookies are off and fewer than 50 fill the queue": (
        "syn-backlog-reserve",
        "cookies-off",
        f"{RULES}/test_queues.py::test_cookies_off_below_the_number_that_many_are",
    ),
    "clients answered a full accept queue, and no eBPF tells": (
        "kernel/test_answered.py::test_those_of_a_full_queue_are_left_alone",
        "kernel/test_answered.py::test_status_and_list_neither_blame_nor_release_them",
    ),
    "clients finish on a deferring listener while a release runs": (
        "kernel/test_door.py::test_who_answers_between_the_look_and_the_door_is_left_alone",
        "kernel/test_release.py::test_deferred_accept_is_never_touched",
    ),
    "a release runs under a flood": ("kernel/test_release.py::test_a_release_under_flood_leaves_honest_clients_alone",),
    "a single SYN-ACK, and clients are far away": (
        "release-time-short",
        f"{RULES}/test_settings.py::test_a_single_synack",
    ),
    "a single SYN-ACK, and a flood": (
        f"{RULES}/test_unfollowed.py::test_a_flood_is_told_by_packets",
        f"{RULES}/test_settings.py::test_handshakes_that_time_out_may_be_of_nobody",
    ),
    "a cookie for every SYN, and a flood": (f"{RULES}/test_unfollowed.py::test_a_flood_is_told_by_packets",),
    "the worker of a pre-fork server is stuck, and its arbiter is not": (
        "worker-stuck",
        "kernel/test_not_accepting.py::test_the_stopped_worker_is_named_early_and_not_its_arbiter",
    ),
    "a container is in trouble while its host is fine": ("container", "kernel/test_beside.py"),
    "a strict reverse path drops SYNs": ("reverse-path", "kernel/test_before_tcp.py::test_a_strict_reverse_path"),
    "a few real hosts, each below half": (
        "flood-few",
        f"{RULES}/test_sources.py::test_a_host_that_finishes_nothing_is_named_beside_any_number_that_do",
        f"{RULES}/test_sources.py::test_a_few_hosts_of_one_network_are_released_together",
    ),
    "a host stands out in a flood from forged addresses": (
        f"{RULES}/test_flood.py::test_a_host_that_stands_out_in_a_flood_is_named_beside_it",
    ),
    "two ports are flooded at once": (
        f"{RULES}/test_flood.py::test_floods_of_two_ports_are_told_apart_with_a_rate_each",
    ),
    "two full queues, of which one gets ten times as many SYNs": (
        f"{RULES}/test_flood.py::test_a_rate_is_named_for_a_port_only_where_it_was_counted_there",
    ),
    "a rule of this host drops the SYN-ACKs of one port": (
        f"{RULES}/test_path.py::test_who_is_given_up_at_the_second_synack_shows_that_none_can_be_sent",
        f"{RULES}/test_path.py::test_those_of_one_listener_are_not_under_way_because_others_finish_at_another",
    ),
    "a rule of this host drops the last ACKs of clients": (
        f"{RULES}/test_before_tcp.py::test_nobody_is_called_silent_whose_acks_rules_of_this_host_may_drop",
    ),
    "one kind of a load balancer's checks is never answered": (
        f"{RULES}/test_path_by_hosts.py::test_those_who_wait_where_hardly_anybody_is_late_are_on_no_lossy_path",
    ),
    "three clients in a thousand vanish behind a proxy": (
        f"{RULES}/test_path_by_hosts.py::test_those_who_wait_are_set_against_those_who_finish_in_the_same_time",
    ),
    "a container is paused": (f"{RULES}/test_accept_stopped.py::test_a_paused_container_goes_on_by_its_runtime",),
    "an ordinary user looks at a full accept queue": (
        f"{RULES}/test_accept.py::test_no_longer_queue_is_proposed_where_the_process_could_not_be_read",
    ),
    "a service is restarted while advise watches": (
        "kernel/test_advise.py::test_a_listener_that_is_opened_meanwhile_is_told",
    ),
    "a broken /16": ("flood-prefix", f"{RULES}/test_sources.py::test_a_wide_network_is_named_as_such"),
    "a few hosts acknowledge SYN-ACKs and send nothing more": (
        "flood-acked",
        "kernel/test_acked.py::test_only_the_hosts_that_are_proven_are_offered_for_a_block",
    ),
    "deferred clients fill the SYN queue": (
        "deferred-full",
        f"{RULES}/test_deferring.py::test_a_queue_that_they_fill_is_not_too_short_for_the_traffic",
        f"{RULES}/test_deferring.py::test_with_cookies_off_clients_are_turned_away",
    ),
    "deferred clients have vanished": (
        "deferred-vanished",
        f"{RULES}/test_reading.py::test_deferred_ones_are_no_trouble",
    ),
    "connections are reopened from TIME_WAIT": (
        "timewait-reopen",
        f"{RULES}/test_queues.py::test_a_queue_past_its_limit_holds_reopened_connections",
        f"{RULES}/test_queues.py::test_a_dump_of_a_full_queue_shows_a_few_more_than_it_takes",
    ),
}


def _tests(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_is_played(situation: str) -> None:
    for name in SITUATIONS[situation]:
        file, _, test = name.partition("::")
        if "/" not in name:
            assert name in SCENES
        else:
            assert not test or test in _tests(file), name
            assert (TESTS / file).is_file()
