/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The programs of the guard at tc ingress: guard.bpf.c says how they work. */
#pragma once
#include "guard_maps.bpf.h"
#include "guard_send.bpf.h"

#define TCX_NEXT (-1)
#define TCX_DROP 2

/*
 * The kernel takes packets from a device in batches, and runs this program on all of a batch before TCP sees the first.
 * Packets with the same cookie within BATCH_US count as one batch; new connections within BURST_NS may not be in the
 * accept queue yet.
 */
#define BATCH_US 5000
#define BURST_NS 2000000
#define RECENT 4096
/* Of ACKs without a cookie, one in this many is looked up, to estimate how many belong to no connection. */
#define GUARD_ONE_IN 16

/* Cookies of which connections were made last, by some of their bits: the cookie, and when (in units of 1,024 ns). */
struct recent {
	u32 cookie;
	u32 at_us;
};

struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[RECENT];
	u32 *key;
	struct recent *value;
} recent SEC(".maps");

INLINE u32 size_index(const u16 *sizes, u16 mss)
{
	return (mss >= sizes[1]) + (mss >= sizes[2]) + (mss >= sizes[3]);
}

INLINE u16 our_mss(const struct net_device *device, struct place place, u16 user_mss)
{
	u32 mss = device->mtu - (place.v6 ? IPV6_HEADER : IPV4_HEADER) - TCP_HEADER;
	u32 most = settings.most_mss[place.v6];

	mss = mss > most ? most : mss;
	return user_mss && user_mss < mss ? user_mss : mss;
}

INLINE void engage(u64 now)
{
	u64 until = now + (1ULL << SLOT_BITS) + GRACE_NS;

	/* Written once a second, as writing it for each SYN would have the CPUs contend for its cache line. */
	if (until - settings.engaged_until > 1ULL << 30)
		settings.engaged_until = until;
}

INLINE u64 signed_by_us(struct packet *p, struct place place, u32 isn, u32 chosen, u64 slot)
{
	return place.v6 ? sign_v6(p, isn, chosen, slot) : sign_v4(p, isn, chosen, slot);
}

INLINE void choose(const struct packet *p, const struct options *o, struct answer *a, struct place place)
{
	a->stamped = o->stamped && settings.timestamps;
	a->sack = o->sack && settings.sack;
	a->ecn = (p->flags & (FLAG_ECE | FLAG_CWR)) == (FLAG_ECE | FLAG_CWR) && settings.ecn && !(p->tos & 3);
	a->wscale = o->wscale != WSCALE_NONE && settings.window_scaling ? settings.wscale : WSCALE_NONE;
	a->hops = settings.hops[place.v6];
}

/* Fills in the answer to a SYN, without the MSS, which depends on the device. */
INLINE void compose(struct answer *a, struct packet *p, struct place place, const struct options *o,
		    const struct listener *l, u64 now)
{
	u32 chosen = size_index(settings.mss[place.v6], o->mss);
	u64 hash, slot = now >> SLOT_BITS;

	a->window = l->window < 64240 ? l->window : 64240;
	a->echo = o->value;
	choose(p, o, a, place);
	chosen |= a->ecn << 2 | a->sack << 3 | (a->wscale == WSCALE_NONE ? WSCALE_NONE : o->wscale) << 4;
	hash = signed_by_us(p, place, p->seq, chosen | (a->stamped ? STAMPED : 0), slot);
	a->seq = ((u32)hash & signed_bits(a->stamped)) | (a->stamped ? tag(p, p->seq) : 0) | chosen;
	a->value = __builtin_bswap32((u32)(now >> TICK_BITS) + (u32)(hash >> 32));
	engage(now);
}

INLINE int answer(struct __sk_buff *skb, struct packet *p, struct place place, const struct options *o,
		  const struct listener *l, u64 now)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	struct answer a = {};

	compose(&a, p, place, o, l, now);
	a.mss = our_mss(kernel->dev, place, l->user_mss);
	return place.v6 ? send_v6(skb, p, &a, place.link) : send_v4(skb, p, &a, place.link);
}

INLINE int on_syn(struct __sk_buff *skb, struct packet *p, const struct options *o, struct place place)
{
	struct guard_counts *c = counted();
	u64 now = bpf_ktime_get_coarse_ns(), began;
	struct listener l = {};
	u32 why;
	int verdict;

	if (!c)
		return TCX_NEXT;
	c->syns++;
	began = begin(c);
	why = may_answer(skb, skb->ifindex, p, place, o, c, &l, now);
	if (why != GUARD_REASONS)
		return pass(c, why, TCX_NEXT);
	if (is_too_many(p, place, now)) {
		c->capped++;
		return TCX_DROP;
	}
	verdict = answer(skb, p, place, o, &l, now);
	if (!verdict)
		return pass(c, GUARD_FAILED, TCX_NEXT);
	count_answer(c, &l, began);
	return verdict;
}

/*
 * One function for each family, so that each is compiled and verified once, not once for each kind of device as well.
 */
OUTLINED int on_syn_v4(struct __sk_buff *skb, struct packet *p, struct options *o, u32 link)
{
	return p && o ? on_syn(skb, p, o, (struct place){ link, false }) : TCX_NEXT;
}

OUTLINED int on_syn_v6(struct __sk_buff *skb, struct packet *p, struct options *o, u32 link)
{
	return p && o ? on_syn(skb, p, o, (struct place){ link, true }) : TCX_NEXT;
}

/* Whether the accept queue is full, or will be once TCP has taken in the connections made since the burst began. */
INLINE bool is_full(const struct tcp_sock___guard *tp, struct guard_counts *c, u64 now)
{
	const struct sock___guard *sk = &tp->inet_conn.icsk_inet.sk;
	u64 cookie = sk->__sk_common.skc_cookie.counter;
	u32 held = sk->sk_ack_backlog, most = sk->sk_max_ack_backlog;

	if (now - c->burst_began > BURST_NS || c->burst_of != cookie) {
		c->burst_began = now;
		c->burst_of = cookie;
		c->burst_held = held;
		c->burst = 0;
	}
	return held > most || c->burst_held + c->burst > most;
}

INLINE void describe(u8 chosen, const struct options *o, struct place place, struct bpf_tcp_req_attrs *attrs)
{
	attrs->mss = settings.mss[place.v6][chosen & 3];
	attrs->ecn_ok = chosen >> 2 & 1;
	attrs->sack_ok = chosen >> 3 & 1;
	attrs->wscale_ok = chosen >> 4 != WSCALE_NONE;
	attrs->snd_wscale = attrs->wscale_ok ? chosen >> 4 : 0;
	attrs->rcv_wscale = attrs->wscale_ok ? settings.wscale : 0;
	attrs->tstamp_ok = o->stamped;
	if (o->stamped) {
		attrs->rcv_tsval = __builtin_bswap32(o->value);
		attrs->rcv_tsecr = __builtin_bswap32(o->echo);
	}
}

/* Has the kernel make a connection of an ACK with a valid cookie, unless the packet before it has just done so. */
INLINE int accept(struct __sk_buff *skb, const struct packet *p, struct place place, const struct options *o,
		  struct guard_counts *c)
{
	u64 now = bpf_ktime_get_ns();
	u32 cookie = p->ack - 1, at = cookie >> 8 & (RECENT - 1), now_us = now >> 10;
	struct recent *r = bpf_map_lookup_elem(&recent, &at);
	struct bpf_tcp_req_attrs attrs = {};
	struct guard_listener_counts *of;
	struct bpf_sock *sk;
	struct tcp_sock *tp;
	int verdict = TCX_NEXT;

	if (!r)
		return TCX_NEXT;
	sk = find(skb, p, place);
	if (!sk)
		return TCX_NEXT;
	tp = sk->state == TCP_LISTEN ? bpf_skc_to_tcp_sock(sk) : 0;
	if (tp && r->cookie == cookie && now_us - r->at_us < BATCH_US) {
		/*
		 * The first packet is ahead of this one in the batch: by the time TCP sees this one, the connection
		 * exists.
		 */
		c->batched++;
	} else if (tp && is_full((const struct tcp_sock___guard *)tp, c, now)) {
		c->accept_full++;
		verdict = TCX_DROP;
	} else if (tp) {
		describe(cookie & COOKIE_OPTIONS, o, place, &attrs);
		if (bpf_sk_assign_tcp_reqsk(skb, (struct sock *)tp, &attrs, sizeof(attrs))) {
			c->refused++;
		} else {
			c->burst++;
			if (r->cookie == cookie)
				c->again++;
			else
				c->accepted++;
			of = counts_of((const struct tcp_sock___guard *)tp);
			if (of && r->cookie != cookie)
				of->accepted++;
			r->cookie = cookie;
			r->at_us = now_us;
		}
	}
	bpf_sk_release(sk);
	return verdict;
}

/* An ACK without a valid cookie: nearly always it belongs to a connection. */
INLINE int on_other_ack(struct __sk_buff *skb, const struct packet *p, struct place place, struct guard_counts *c)
{
	struct bpf_sock *sk;

	if (++c->unlooked % GUARD_ONE_IN)
		return TCX_NEXT;
	sk = find(skb, p, place);
	if (!sk || sk->state == TCP_LISTEN)
		c->bad += GUARD_ONE_IN;
	if (sk)
		bpf_sk_release(sk);
	return TCX_NEXT;
}

INLINE int on_ack(struct __sk_buff *skb, struct packet *p, const struct options *o, struct place place, u64 now)
{
	struct guard_counts *c = counted();
	u64 slot = now >> SLOT_BITS, hash;
	u32 cookie = p->ack - 1, isn = p->seq - 1, chosen = (cookie & COOKIE_OPTIONS) | (o->stamped ? STAMPED : 0);

	if (!c)
		return TCX_NEXT;
	if (o->stamped && (cookie & TAG) != tag(p, isn))
		return on_other_ack(skb, p, place, c);
	hash = signed_by_us(p, place, isn, chosen, slot);
	if (!fits(hash, cookie, o->stamped)) {
		if ((now & ((1ULL << SLOT_BITS) - 1)) > GRACE_NS)
			return on_other_ack(skb, p, place, c);
		hash = signed_by_us(p, place, isn, chosen, slot - 1);
		if (!fits(hash, cookie, o->stamped))
			return on_other_ack(skb, p, place, c);
	}
	if (o->stamped && !is_recent(hash, now, o->echo))
		return on_other_ack(skb, p, place, c);
	return accept(skb, p, place, o, c);
}

OUTLINED int on_ack_v4(struct __sk_buff *skb, struct packet *p, struct options *o, u64 now)
{
	return p && o ? on_ack(skb, p, o, (struct place){ 0, false }, now) : TCX_NEXT;
}

OUTLINED int on_ack_v6(struct __sk_buff *skb, struct packet *p, struct options *o, u64 now)
{
	return p && o ? on_ack(skb, p, o, (struct place){ 0, true }, now) : TCX_NEXT;
}

INLINE int on_packet(struct __sk_buff *skb, struct place place)
{
	struct packet p = {};
	struct options o = {};
	enum reading found = read_packet(skb, place, &p);
	struct guard_counts *c;
	u64 now;

	if (found == NOT_TCP || (found == IS_TCP && !is_guarded_port(p.local_port)))
		return TCX_NEXT;
	if (found == IS_UNUSUAL || skb->vlan[0]) {
		c = counted();
		if (c)
			c->unusual++;
		return TCX_NEXT;
	}
	if ((p.flags & (FLAG_SYN | FLAG_RST | FLAG_ACK)) == FLAG_ACK) {
		/* While no cookie can come back, an ACK belongs to a connection: leave it alone at once. */
		now = bpf_ktime_get_coarse_ns();
		if (now > settings.engaged_until || settings.mode == GUARD_OFF || !packet_options(skb, place, &p, &o))
			return TCX_NEXT;
		return place.v6 ? on_ack_v6(skb, &p, &o, now) : on_ack_v4(skb, &p, &o, now);
	}
	if ((p.flags & ~(FLAG_ECE | FLAG_CWR)) == FLAG_SYN) {
		if (!packet_options(skb, place, &p, &o))
			o.broken = true;
		return place.v6 ? on_syn_v6(skb, &p, &o, place.link) : on_syn_v4(skb, &p, &o, place.link);
	}
	return TCX_NEXT;
}

INLINE int guard(struct __sk_buff *skb, u32 link)
{
	/* Only packets for this host (PACKET_HOST is 0). */
	if (skb->pkt_type)
		return TCX_NEXT;
	if (skb->protocol == ETH_P_IP_BE)
		return on_packet(skb, (struct place){ link, false });
	if (skb->protocol == ETH_P_IPV6_BE)
		return on_packet(skb, (struct place){ link, true });
	return TCX_NEXT;
}

/* On devices whose packets begin with an Ethernet header, the loopback device among them. */
SEC("tc")
int halfopen_guard(struct __sk_buff *skb)
{
	return guard(skb, MAC_HEADER);
}

/* On devices whose packets begin with the IP header, as tunnels. */
SEC("tc")
int halfopen_guard3(struct __sk_buff *skb)
{
	return guard(skb, 0);
}
