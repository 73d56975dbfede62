/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What every rung of the guard shares: its maps, and whether it answers for a listener now. */
#pragma once
#include "guard_answer.bpf.h"

#define LOOPBACK 1
#define LOOPBACK_V6 (1ULL << 56) /* the second half of ::1 */
#define MULTICAST_V6 0xff
#define PREFIXES 65536
/* One answer in this many is timed, as reading the clock takes time itself. */
#define TIMED_ONE_IN 256

/* A bit for each port: set if a guarded listener has it. Nearly all packets need no other look-up. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[65536 / 64];
	u32 *key;
	u64 *value;
} ports SEC(".maps");

/* The addresses of this host; below, prefixes that are local as a whole (as 127.0.0.0/8). */
struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*max_entries)[16384];
	u64 (*key)[2];
	u8 *value;
} local SEC(".maps");

struct wide {
	u32 length;
	u32 address[4];
};

struct {
	int (*type)[BPF_MAP_TYPE_LPM_TRIE];
	int (*map_flags)[BPF_F_NO_PREALLOC];
	int (*max_entries)[1024];
	struct wide *key;
	u8 *value;
} local_wide SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_HASH];
	int (*max_entries)[4096];
	struct guard_listener *key;
	struct guard_listener_counts *value;
} listeners SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	struct guard_counts *value;
} counts SEC(".maps");

/* SYN-ACKs to a prefix in one second. Prefixes whose hashes collide share an entry, and its limit. */
struct sent {
	u32 second;
	u32 answers;
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[PREFIXES];
	u32 *key;
	struct sent *value;
} sent SEC(".maps");

INLINE struct guard_counts *counted(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

INLINE bool is_guarded_port(u16 port)
{
	u32 at = port / 64;
	u64 *bits = bpf_map_lookup_elem(&ports, &at);

	return bits && *bits >> port % 64 & 1;
}

/*
 * Whether the destination is an address of this host. Mostly it is that of the packet before, which needs no look-up.
 */
INLINE bool is_local(const struct packet *p, struct guard_counts *c)
{
	/*
	 * Copied, as the verifier of Linux 6.1 accepts a key on the stack, but not behind an argument of a global
	 * function.
	 */
	u64 changes = settings.local_changes, whole[2] = { p->local[0], p->local[1] };
	struct wide key = { .length = 128 };

	if (c->local_changes == changes && c->local[0] == whole[0] && c->local[1] == whole[1])
		return true;
	__builtin_memcpy(key.address, whole, 16);
	if (!bpf_map_lookup_elem(&local, whole) && !bpf_map_lookup_elem(&local_wide, &key))
		return false;
	c->local[0] = whole[0];
	c->local[1] = whole[1];
	c->local_changes = changes;
	return true;
}

/* Whether a packet may have this source address: the kernel's routing would drop others (martians) later. */
INLINE bool is_possible(const struct packet *p, struct place place, u32 ifindex)
{
	u8 first = p->remote[1] >> 32;

	/* A packet from an address to itself arrives by the loopback device only. */
	if (p->remote[1] == p->local[1] && p->remote[0] == p->local[0])
		return ifindex == LOOPBACK;
	if (!place.v6)
		return first == 127 ? ifindex == LOOPBACK : first && first < 224;
	if (!p->remote[0] && (!p->remote[1] || p->remote[1] == LOOPBACK_V6))
		return p->remote[1] && ifindex == LOOPBACK;
	return (u8)p->remote[0] != MULTICAST_V6;
}

INLINE struct bpf_sock *find(void *context, const struct packet *p, struct place place)
{
	struct bpf_sock_tuple tuple = {};

	if (place.v6) {
		__builtin_memcpy(tuple.ipv6.saddr, p->remote, 16);
		__builtin_memcpy(tuple.ipv6.daddr, p->local, 16);
		tuple.ipv6.sport = p->ports;
		tuple.ipv6.dport = p->ports >> 16;
		return bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv6), -1, 0);
	}
	tuple.ipv4.saddr = p->remote[1] >> 32;
	tuple.ipv4.daddr = p->local[1] >> 32;
	tuple.ipv4.sport = p->ports;
	tuple.ipv4.dport = p->ports >> 16;
	return bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv4), -1, 0);
}

/* What the answer takes from the listener. */
struct listener {
	struct guard_listener_counts *counts;
	u32 window;
	u16 user_mss;
};

INLINE struct guard_listener_counts *counts_of(const struct tcp_sock___guard *tp)
{
	const struct sock_common *skc = &tp->inet_conn.icsk_inet.sk.__sk_common;
	struct guard_listener key = { .port = skc->skc_num };

	if (skc->skc_family == AF_INET6) {
		key.address[0] = two(skc->skc_v6_rcv_saddr.in6_u.u6_addr32);
		key.address[1] = two(skc->skc_v6_rcv_saddr.in6_u.u6_addr32 + 2);
	} else {
		key.address[1] = (u64)skc->skc_rcv_saddr << 32 | V4_MAPPED_BE;
	}
	return bpf_map_lookup_elem(&listeners, &key);
}

INLINE bool is_mptcp(const struct tcp_sock___guard *tp)
{
	return FIELD(tp, is_mptcp, FIELD_EXISTS) && tp->is_mptcp;
}

/* Whether the guard answers for this listener now. Returns GUARD_REASONS if so, otherwise why not. */
INLINE u32 judge(const struct tcp_sock___guard *tp, struct listener *l)
{
	const struct sock___guard *sk = &tp->inet_conn.icsk_inet.sk;
	u32 room = sk->sk_max_ack_backlog, held = tp->inet_conn.icsk_accept_queue.qlen.counter;

	l->counts = counts_of(tp);
	if (!l->counts)
		return GUARD_OTHER_LISTENER;
	l->counts->syns++;
	if (is_mptcp(tp))
		return GUARD_MPTCP;
	if ((u64)held * 256 < (u64)room * settings.share)
		return GUARD_BELOW;
	if (sk->sk_ack_backlog > room)
		return GUARD_ACCEPT_FULL;
	l->window = sk->sk_rcvbuf > 0 ? sk->sk_rcvbuf / 2 : 0;
	l->user_mss = tp->rx_opt.user_mss;
	return GUARD_REASONS;
}

INLINE u32 find_listener(void *context, const struct packet *p, struct place place, struct listener *l)
{
	struct bpf_sock *sk = find(context, p, place);
	struct tcp_sock *tp;
	u32 why = GUARD_NOT_LISTENING;

	if (!sk)
		return why;
	if (sk->state == TCP_LISTEN) {
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			why = judge((const struct tcp_sock___guard *)tp, l);
	}
	bpf_sk_release(sk);
	return why;
}

/* Whether a SYN concerns the guard at all, by what is quick to tell. Returns GUARD_REASONS if so, otherwise why not. */
INLINE u32 concerns(const struct packet *p, struct place place, u32 ifindex, struct guard_counts *c, u64 now)
{
	if (settings.mode != GUARD_ANSWERS || now > settings.until)
		return GUARD_STOPPED;
	if (!is_local(p, c) || !is_possible(p, place, ifindex))
		return GUARD_FOREIGN;
	return GUARD_REASONS;
}

/* The same, by the options of the SYN. */
INLINE u32 readable(const struct options *o)
{
	if (o->is_signed)
		return GUARD_SIGNED;
	return o->broken ? GUARD_BROKEN : GUARD_REASONS;
}

/* Whether the guard answers this SYN with its own cookie now. Returns GUARD_REASONS if so, otherwise why not. */
INLINE u32 may_answer(void *context, u32 ifindex, const struct packet *p, struct place place, const struct options *o,
		      struct guard_counts *c, struct listener *l, u64 now)
{
	u32 why = concerns(p, place, ifindex, c, now);

	if (why == GUARD_REASONS)
		why = readable(o);
	return why == GUARD_REASONS ? find_listener(context, p, place, l) : why;
}

/* When the work on an answer began; 0: this one is not timed. */
INLINE u64 begin(const struct guard_counts *c)
{
	return c->answered % TIMED_ONE_IN ? 0 : bpf_ktime_get_ns();
}

INLINE void count_answer(struct guard_counts *c, struct listener *l, u64 began)
{
	c->answered++;
	if (l->counts)
		l->counts->answered++;
	if (began) {
		c->timed++;
		c->timed_ns += bpf_ktime_get_ns() - began;
	}
}

/* Counts why a SYN is left to the kernel. Returns `verdict`, which the program then returns. */
INLINE int pass(struct guard_counts *c, u32 why, int verdict)
{
	if (why < GUARD_REASONS)
		c->passed[why]++;
	return verdict;
}

/* Counts an answer to the source's prefix. Returns whether it exceeds the limit of this second. */
INLINE bool is_too_many(const struct packet *p, struct place place, u64 now)
{
	u64 prefix = place.v6 ? p->remote[0] << 16 : p->remote[1] >> 32 & 0xffffff;
	u32 at = (prefix ^ settings.seed) * 0x9E3779B97F4A7C15ULL >> 48;
	u32 second = now >> 30;
	struct sent *s = bpf_map_lookup_elem(&sent, &at);

	if (!s)
		return false;
	if (s->second != second) {
		s->second = second;
		s->answers = 0;
	}
	return s->answers++ >= settings.most_to_prefix;
}
