"""Each way in which a program that answers SYNs is known to hurt clients, and the test that stands against it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

KERNEL: Final = Path(__file__).resolve().parents[1] / "kernel"

# By weight. Trap → file::test, of tests/kernel.
TRAPS: Final[dict[str, tuple[str, ...]]] = {
    "a second packet in one batch kills the request that the first has just made": (
        "test_guard_batched.py::test_the_second_packet_of_a_connection_does_not_cost_its_first",
    ),
    "a port in TIME_WAIT is answered, and its client hangs": (
        "test_guard.py::test_a_port_that_is_in_time_wait_can_be_used_again_at_once",
    ),
    "a wildcard listener is found for addresses of other hosts": (
        "test_guard_packets.py::test_an_address_that_is_not_this_hosts_is_not_answered_for",
        "test_guard_rungs.py::test_signed_and_foreign_syns_are_left_to_the_kernel",
    ),
    "the kernel reads options from a timestamp that only it can make": (
        "test_guard_rungs.py::test_the_kernel_takes_the_cookies_that_are_made_in_front_of_it",
    ),
    "the kernel takes cookies of a listener only that it knows to be short of room": (
        "test_guard_rungs.py::test_with_cookies_at_need_they_begin_when_the_queue_is_full",
    ),
    "native XDP on veth loses what it sends": (
        "test_guard_rungs.py::test_a_device_has_room_for_one_program_in_front",
        "test_guard_front.py::test_virtual_devices_get_no_front",
    ),
    "a card takes the VLAN tag off before XDP sees the frame": (
        "test_guard_front.py::test_what_stands_in_the_way_of_a_front_is_said",
        "test_guard_front.py::test_a_vlan_that_comes_meanwhile_takes_the_front_off",
    ),
    "a firewall has not seen the SYN, and drops the ACK": (
        "test_guard_refused.py::test_where_it_would_harm_it_is_not_armed",
        "test_guard_refused.py::test_where_connections_are_tracked_strictly_it_is_not_armed",
        "test_protect.py::test_it_ends_where_a_firewall_drops_what_it_lets_in",
    ),
    "SYNs and listeners that a cookie cannot stand for": (
        "test_guard_packets.py::test_signed_fragmented_and_tagged_syns_are_left_to_the_kernel",
        "test_guard_refused.py::test_an_mptcp_listener_is_refused_and_the_others_are_guarded",
        "test_guard.py::test_data_in_the_syn_comes_again_after_it",
        "test_guard_clients.py::test_a_client_that_asks_for_mptcp_gets_in_by_plain_tcp",
        "test_guard_clients.py::test_a_listener_that_waits_for_data_gets_its_client_before_them",
    ),
    "local senders leave checksums to a device": (
        "test_guard_front.py::test_what_the_driver_sends_is_whole_to_the_last_byte",
        "test_guard.py::test_a_local_client_whose_checksums_nobody_completed_gets_in",
        "test_guard_packets.py::test_answers_through_a_tunnel_are_whole_to_the_last_byte",
    ),
    "the request has to be made in the listener's own namespace": (
        "test_protect.py::test_it_guards_is_seen_and_ends_in_order",
    ),
    "a device has one XDP program, and filters at tc": (
        "test_guard_rungs.py::test_a_device_has_room_for_one_program_in_front",
        "test_guard.py::test_it_stands_beside_other_filters_of_its_device",
    ),
    "one function that the kernel lacks fails the whole object": (
        "test_guard_rungs.py::test_the_rungs_for_older_kernels_need_no_function_of_newer_ones",
        "test_guard_rungs.py::test_the_best_rung_that_works_is_chosen_and_said",
    ),
    "options of any bytes, and lengths that a verifier cannot follow": (
        "test_guard_packets.py::test_options_of_any_bytes_neither_stall_nor_fool_it",
        "test_guard_front.py::test_options_of_any_bytes_neither_stall_nor_fool_the_front",
    ),
    "forged addresses get more than was sent for them": (
        "test_guard_packets.py::test_a_forged_syn_is_answered_once_and_no_longer_than_it_was",
        "test_guard_packets.py::test_no_network_gets_more_answers_than_it_may",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_its_test(trap: str) -> None:
    for name in TRAPS[trap]:
        file, _, test = name.partition("::")
        tree = ast.parse((KERNEL / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
