// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The door: while it is held, packets of the held connections do not reach their listener, so none of them can finish
 * its handshake. All others pass. Attached to a cgroup by a link, which ends with the process that holds it.
 *
 * The last ACK of a handshake is shown to its listener's filters (tcp_v4_rcv(), tcp_filter()), those of its cgroup
 * first; no application's own filter is touched.
 *
 * The held connections stand in `bits` as a Bloom filter: three bits of one word for each, chosen by a hash of its
 * addresses and ports (change/door.py has the same hash). It never misses a held connection. About one in a thousand
 * others looks like a held one, and loses a packet while the door is held, as on a lossy path.
 */
#include "compat.bpf.h"
#include "uapi.bpf.h"

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*map_flags)[BPF_F_MMAPABLE];
	int (*max_entries)[1];
	u32 *key;
	u64 *value;
} bits SEC(".maps");

/* In: the namespace whose connections are held, by its inode number. */
u32 netns;
/* In: what the hash begins with, and how far it is shifted to give the place of a word. */
u64 seed;
u32 shift;
/* In: the door opens by itself then, CLOCK_MONOTONIC in ns: whoever holds it may have been stopped. */
u64 until;
/* Out: it did, and let packets of held connections through. */
u32 lapsed;
/*
 * Out: packets turned away, but for a few that two CPUs counted at once: newer compilers make an atomic addition of a kind
 * that is refused before Linux 5.12.
 */
u64 turned_away;

#define IPV4_HEADER 20
#define IPV6_HEADER 40
/* An IPv6 packet with more headers than this before TCP counts as one that cannot be parsed. */
#define EXTENSIONS 8
#define ODD 0x9E3779B97F4A7C15ULL

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60 };

/* Who talks to whom, IPv4 addresses as v4-mapped, in network order: each address as two words in memory order. */
struct ends {
	u64 remote[2];
	u64 local[2];
	u32 ports; /* remote, local */
};

/* Where the TCP header of an IPv6 packet begins; 0 where it was not found. */
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

/* Reads the ends of a TCP packet. False where it cannot be parsed. */
INLINE bool read_ends(struct __sk_buff *skb, struct ends *ends)
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
			return false;
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
			return false;
		tcp = behind_extensions(skb, ip.next);
		__builtin_memcpy(ends->remote, ip.source, 16);
		__builtin_memcpy(ends->local, ip.destination, 16);
	} else {
		return false;
	}
	return tcp && !bpf_skb_load_bytes(skb, tcp, &ends->ports, sizeof(ends->ports));
}

INLINE u64 mix(u64 hash, u64 part)
{
	hash = (hash ^ part) * ODD;
	return hash ^ hash >> 32;
}

INLINE bool is_held(const struct ends *ends)
{
	u64 hash = mix(mix(mix(mix(mix(seed, ends->remote[1]), ends->local[1]), ends->remote[0]), ends->local[0]),
		       ends->ports);
	u64 three = 1ULL << (hash & 63) | 1ULL << (hash >> 6 & 63) | 1ULL << (hash >> 12 & 63);
	u32 place = hash >> shift;
	u64 *word = bpf_map_lookup_elem(&bits, &place);

	return word && (*word & three) == three;
}

/* Whether a socket is of the namespace that is meant. */
INLINE bool is_meant(struct bpf_sock *sk)
{
	/* The verifier lets nobody look into a socket by an offset, only copy from its beginning. */
	u8 beginning[128] = {};
	u32 at = FIELD((struct sock_common *)0, skc_net.net, FIELD_BYTE_OFFSET);
	struct net *net;
	u32 inode = 0;

	if (at > sizeof(beginning) - sizeof(net) || bpf_probe_read_kernel(beginning, sizeof(beginning), sk))
		return true;
	net = *(struct net **)(beginning + at);
	bpf_probe_read_kernel(&inode, sizeof(inode), (const void *)net + FIELD(net, ns.inum, FIELD_BYTE_OFFSET));
	return !inode || inode == netns;
}

SEC("cgroup_skb/ingress")
int door(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct ends ends = {};

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->state != TCP_LISTEN)
		return 1;
	/* A packet that cannot be parsed might be a held connection's. */
	if ((read_ends(skb, &ends) && !is_held(&ends)) || !is_meant(sk))
		return 1;
	if (bpf_ktime_get_ns() > until) {
		lapsed = 1;
		return 1;
	}
	turned_away++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
