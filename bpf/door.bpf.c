// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The door: while it is held, packets of the held connections do not reach their listener, so none of these connections
 * can complete its handshake. All other packets pass. The program is attached to a cgroup by a link, which the kernel
 * removes when the process that holds the door ends.
 *
 * The kernel runs the filters of the listener, those of its cgroup first, on the last ACK of a handshake (tcp_v4_rcv(),
 * tcp_filter()). Filters that an application attached itself are not touched.
 *
 * `bits` is a Bloom filter of the connections: three bits of one word for each, chosen by a hash of its addresses and
 * ports (change/door.py computes the same hash). The filter never misses a held connection. About one in a thousand
 * other connections looks like a held one and loses a packet while the door is held, as on a lossy path.
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
/* In: the seed of the hash, and the shift that turns a hash into the index of a word. */
u64 seed;
u32 shift;
/* In: when the door opens by itself (CLOCK_MONOTONIC, ns): the process that holds it may have been stopped. */
u64 until;
/* Out: the door opened by itself, and let packets of held connections through. */
u32 lapsed;
/*
 * Out: packets dropped. Increments by two CPUs at once may be lost: the addition is not atomic, because newer compilers
 * emit a kind of atomic addition that kernels before Linux 5.12 refuse.
 */
u64 turned_away;

#define IPV4_HEADER 20
#define IPV6_HEADER 40
/* An IPv6 packet with more extension headers than this counts as unparsable. */
#define EXTENSIONS 8
#define ODD 0x9E3779B97F4A7C15ULL

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

/* Reads addresses and ports of a TCP packet. False where the packet cannot be parsed. */
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

/* Whether a socket belongs to the namespace whose connections are held; true where that cannot be told. */
INLINE bool is_meant(struct bpf_sock *sk)
{
	/* The verifier refuses reads at an offset into a socket, and accepts a copy from its beginning. */
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
	/* An unparsable packet may belong to a held connection. */
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
