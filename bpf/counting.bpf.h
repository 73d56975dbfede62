/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Counting handshakes by listener: the key of a listener, and entries of maps that are made when they are first met. */
#pragma once
#include "compat.bpf.h"
#include "events.h"

RECORD(handshake_key);

#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_NOEXIST 1
#define BPF_F_NO_PREALLOC 1

/* In: count this namespace alone; 0: all. */
u32 only_netns;

/* The key of a listener, or of the listener that a connection came to. False: its namespace is not the one to count. */
INLINE bool key_of(struct sock_common *skc, struct handshake_key *key)
{
	key->netns = skc->skc_net.net->ns.inum;
	if (only_netns && key->netns != only_netns)
		return false;
	key->ifindex = skc->skc_bound_dev_if;
	key->port = skc->skc_num;
	key->family = skc->skc_family;
	if (key->family == AF_INET6) {
		__builtin_memcpy(key->address, skc->skc_v6_rcv_saddr.in6_u.u6_addr32, 16);
		key->ipv4 = !key->address[0] && !key->address[1] && key->address[2] == 0xffff0000;
	} else {
		key->address[0] = skc->skc_rcv_saddr;
		key->ipv4 = 1;
	}
	return true;
}

/* The entry of a key, made with the value `first` if there is none; 0 if the map is full. */
INLINE void *entry_of(void *map, const void *key, const void *first)
{
	void *found = bpf_map_lookup_elem(map, key);

	if (found)
		return found;
	bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}
