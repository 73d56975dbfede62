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
#include "packet.bpf.h"

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*map_flags)[BPF_F_MMAPABLE];
	int (*max_entries)[16384]; /* as USUAL in change/door.py; a larger door sets another size */
	u32 *key;
	u64 *value;
} bits SEC(".maps");

/* In: the namespace whose connections are held, by its inode number. */
u32 netns;
/* In: the seed of the hash, and the shift that turns a hash into the index of a word. */
u64 seed;
u32 shift;
/* In: when the door opens by itself (CLOCK_MONOTONIC, ns), in case the process that holds it is stopped. */
u64 until;
/* Out: the door opened by itself, and let packets of held connections through. */
u32 lapsed;
/*
 * Out: packets dropped. Increments by two CPUs at once may be lost: the addition is not atomic, because newer compilers
 * emit a kind of atomic addition that kernels before Linux 5.12 refuse.
 */
u64 turned_away;

#define ODD 0x9E3779B97F4A7C15ULL

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

/* Whether a socket is in the namespace whose connections are held; true if its namespace cannot be read. */
INLINE bool is_meant(struct bpf_sock *sk)
{
	u32 inode = netns_of(sk);

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
	/* A packet that cannot be parsed may belong to a held connection, and is dropped as well. */
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
