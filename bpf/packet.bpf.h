/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Reading TCP packets on their way to a socket (cgroup_skb). */
#pragma once
#include "compat.bpf.h"
#include "uapi.bpf.h"

#define IPV4_HEADER 20
#define IPV6_HEADER 40
/* An IPv6 packet with more extension headers than this counts as unparsable. */
#define EXTENSIONS 8

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60 };

/* The addresses and ports of a connection, in network order. An address is two words; IPv4 is v4-mapped. */
struct ends {
	u64 remote[2];
	u64 local[2];
	u32 ports; /* remote, local */
};

/* The offset of the TCP header in an IPv6 packet; 0 where there is none. */
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
	return next == IPPROTO_TCP ? at : 0;
}

/* Reads addresses and ports of a TCP packet. Returns the offset of its TCP header; 0 where it cannot be parsed. */
INLINE u32 read_ends(struct __sk_buff *skb, struct ends *ends)
{
	u32 tcp;

	if (skb->protocol == ETH_P_IP_BE) {
		struct {
			u8 version_length;
			u8 tos;
			u16 rest[5];
			u32 source;
			u32 destination;
		} ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 0;
		tcp = (ip.version_length & 15) * 4;
		ends->remote[1] = (u64)ip.source << 32 | V4_MAPPED_BE;
		ends->local[1] = (u64)ip.destination << 32 | V4_MAPPED_BE;
	} else if (skb->protocol == ETH_P_IPV6_BE) {
		struct {
			u32 head;
			u16 length;
			u8 next;
			u8 hops;
			u64 source[2];
			u64 destination[2];
		} ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 0;
		tcp = behind_extensions(skb, ip.next);
		__builtin_memcpy(ends->remote, ip.source, 16);
		__builtin_memcpy(ends->local, ip.destination, 16);
	} else {
		return 0;
	}
	return tcp && !bpf_skb_load_bytes(skb, tcp, &ends->ports, sizeof(ends->ports)) ? tcp : 0;
}

/* The inode number of a socket's network namespace; 0 where it cannot be told. */
INLINE u32 netns_of(struct bpf_sock *sk)
{
	/* The verifier refuses reads at an offset into a socket, and accepts a copy from its beginning. */
	u8 beginning[128] = {};
	u32 at = FIELD((struct sock_common *)0, skc_net.net, FIELD_BYTE_OFFSET);
	struct net *net;
	u32 inode = 0;

	if (at > sizeof(beginning) - sizeof(net) || bpf_probe_read_kernel(beginning, sizeof(beginning), sk))
		return 0;
	net = *(struct net **)(beginning + at);
	bpf_probe_read_kernel(&inode, sizeof(inode), (const void *)net + FIELD(net, ns.inum, FIELD_BYTE_OFFSET));
	return inode;
}
