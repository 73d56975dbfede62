// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The door: while it is held, packets of the held connections do not reach their listener, so none of them can finish
 * its handshake. All others pass. Attached to a cgroup by a link, which ends with the process that holds it.
 *
 * The last ACK of a handshake is shown to its listener's filters (tcp_v4_rcv(), tcp_filter()), those of its cgroup
 * first; no application's own filter is touched.
 */
#include "compat.bpf.h"
#include "events.h"
#include "uapi.bpf.h"

RECORD(door_key);

struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*max_entries)[1];
	struct door_key *key;
	u8 *value;
} held SEC(".maps");

/*
 * Out: packets turned away, but for a few that two CPUs counted at once: newer compilers make an atomic addition of a kind
 * that is refused before Linux 5.12.
 */
u64 turned_away;

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define EXTENSIONS 8

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60 };

/* Where the TCP header of an IPv6 packet begins; 0 where it has none that can be found. */
INLINE u32 behind_extensions(struct __sk_buff *skb, u8 next)
{
	u32 at = IPV6_HEADER;
	u8 head[2];

	for (int i = 0; i < EXTENSIONS; i++) {
		if (next == IPPROTO_TCP)
			return at;
		if (next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT && next != AUTHENTICATION &&
		    next != DESTINATION)
			return 0;
		if (bpf_skb_load_bytes(skb, at, head, sizeof(head)))
			return 0;
		if (next == FRAGMENT)
			at += 8;
		else if (next == AUTHENTICATION)
			at += (head[1] + 2) * 4;
		else
			at += (head[1] + 1) * 8;
		next = head[0];
	}
	return 0;
}

SEC("cgroup_skb/ingress")
int door(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct door_key key = {};
	struct {
		u16 source;
		u16 destination;
	} ports;
	u32 tcp;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->state != TCP_LISTEN)
		return 1;
	if (skb->protocol == ETH_P_IP_BE) {
		struct {
			u8 version_length;
			u8 tos;
			u16 rest[5];
			u32 source;
			u32 destination;
		} ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		tcp = (ip.version_length & 15) * 4;
		key.remote[2] = key.local[2] = V4_MAPPED_BE;
		key.remote[3] = ip.source;
		key.local[3] = ip.destination;
	} else if (skb->protocol == ETH_P_IPV6_BE) {
		struct {
			u32 head;
			u16 length;
			u8 next;
			u8 hops;
			u32 source[4];
			u32 destination[4];
		} ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		tcp = behind_extensions(skb, ip.next);
		__builtin_memcpy(key.remote, ip.source, 16);
		__builtin_memcpy(key.local, ip.destination, 16);
	} else {
		return 1;
	}
	if (!tcp || bpf_skb_load_bytes(skb, tcp, &ports, sizeof(ports)))
		return 1;
	key.remote_port = ports.source;
	key.local_port = ports.destination;
	if (!bpf_map_lookup_elem(&held, &key))
		return 1;
	turned_away++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
