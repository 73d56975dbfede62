// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The second rung of the guard: SYNs are answered before the kernel sees them, by a cookie that the kernel makes
 * (bpf_tcp_gen_syncookie) and that the kernel itself checks when the ACK comes. With tcp_syncookies = 1 it makes one
 * only while the listener's SYN queue is full.
 *
 * The kernel's cookie keeps window scaling and SACK in the timestamp of the SYN-ACK. Before it reads them from the
 * echo, the kernel subtracts an offset that is secret for each pair of addresses. A program cannot know that offset, so
 * its SYN-ACK has no timestamp, and the connection neither window scaling nor SACK; unless tcp_timestamps is 2, where
 * the offset is 0. Source: cookie_timestamp_decode(), secure_tcp_ts_off().
 */
#include "guard_frame_answer.bpf.h"
#include "guard_front.bpf.h"

/* TSBITS of net/ipv4/syncookies.c: what the low bits of a timestamp say. */
#define TS_BITS 6
#define TS_SACK 0x10
#define TS_ECN 0x20

/* Since v5.4. Returns the cookie in the lower 32 bits, and its MSS above; negative: the kernel makes no cookie now. */
static long (*const bpf_tcp_gen_syncookie)(void *sk, void *ip, u32 ip_length, void *tcp, u32 tcp_length) = (void *)110;

/* Asks the kernel for its cookie for a SYN. Returns GUARD_REASONS if there is one, otherwise why not. */
INLINE u32 find_cookie(struct xdp_md *xdp, const struct packet *p, struct place place, struct listener *l, u32 *cookie)
{
	u8 headers[IPV6_HEADER + TCP_HEADER + 64];
	const u32 ip = place.v6 ? IPV6_HEADER : IPV4_HEADER;
	u32 length = TCP_HEADER + p->options, why = GUARD_NOT_LISTENING;
	struct bpf_sock *sk;
	struct tcp_sock *tp;
	long made;

	asm volatile("" : "+r"(length));
	if (length < TCP_HEADER || length > TCP_MOST)
		return GUARD_BROKEN;
	length = AT_LEAST(TCP_HEADER, length, 63);
	if (bpf_xdp_load_bytes(xdp, MAC_HEADER, headers, ip) ||
	    bpf_xdp_load_bytes(xdp, TRANSPORT(place), headers + ip, length))
		return GUARD_BROKEN;
	sk = find(xdp, p, place);
	if (!sk)
		return why;
	tp = sk->state == TCP_LISTEN ? bpf_skc_to_tcp_sock(sk) : 0;
	if (tp) {
		why = judge((const struct tcp_sock___guard *)tp, l);
		if (why == GUARD_REASONS) {
			made = bpf_tcp_gen_syncookie(sk, headers, ip, headers + ip, length);
			if (made < 0)
				why = GUARD_BELOW;
			*cookie = made;
		}
	}
	bpf_sk_release(sk);
	return why;
}

/* A timestamp whose low bits tell the kernel the options when it comes back. Source: cookie_init_timestamp(). */
INLINE be32 timestamp(u64 now, const struct answer *a, const struct options *o)
{
	u32 ms = now / 1000000, low = a->wscale == WSCALE_NONE ? WSCALE_NONE : o->wscale;
	u32 stamp;

	low |= (a->sack ? TS_SACK : 0) | (a->ecn ? TS_ECN : 0);
	stamp = (ms >> TS_BITS << TS_BITS) | low;
	return __builtin_bswap32(stamp > ms ? stamp - (1 << TS_BITS) : stamp);
}

INLINE void choose(const struct packet *p, const struct options *o, struct answer *a, struct place place, u64 now)
{
	u16 user = a->mss;

	a->mss = settings.front_mss[place.v6];
	if (user && user < a->mss)
		a->mss = user;
	a->hops = settings.hops[place.v6];
	a->wscale = WSCALE_NONE;
	if (!o->stamped || !settings.plain_timestamps)
		return;
	a->stamped = true;
	a->sack = o->sack && settings.sack;
	a->ecn = (p->flags & (FLAG_ECE | FLAG_CWR)) == (FLAG_ECE | FLAG_CWR) && settings.ecn && !(p->tos & 3);
	if (o->wscale != WSCALE_NONE && settings.window_scaling)
		a->wscale = settings.wscale;
	a->echo = o->value;
	a->value = timestamp(now, a, o);
}

INLINE int on_syn(struct xdp_md *xdp, struct packet *p, struct place place)
{
	struct guard_counts *c = counted();
	u64 now = bpf_ktime_get_ns();
	struct listener l = {};
	struct options o = {};
	struct answer a = {};
	u32 why;
	int verdict;

	if (!c)
		return XDP_PASS;
	c->syns++;
	read_options(xdp, p, place, &o);
	why = concerns(p, place, xdp->ingress_ifindex, c, now);
	if (why == GUARD_REASONS)
		why = readable(&o);
	if (why == GUARD_REASONS)
		why = find_cookie(xdp, p, place, &l, &a.seq);
	if (why != GUARD_REASONS)
		return pass(c, why, XDP_PASS);
	if (is_too_many(p, place, now)) {
		c->capped++;
		return XDP_DROP;
	}
	a.window = l.window < 64240 ? l.window : 64240;
	a.mss = l.user_mss;
	choose(p, &o, &a, place, now);
	verdict = place.v6 ? send_frame_v6(xdp, p, &a) : send_frame_v4(xdp, p, &a);
	if (!verdict)
		return pass(c, GUARD_FAILED, XDP_PASS);
	count_answer(c, &l, 0);
	return verdict;
}
