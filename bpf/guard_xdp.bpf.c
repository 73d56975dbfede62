// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The guard at tc (guard.bpf.c) with a front in the driver (native XDP): the front answers SYNs with the same cookies
 * before the kernel has allocated anything for them. It answers what the programs at tc would answer, and leaves
 * everything else to them: they count it, and take the ACKs. So a device without a front is guarded all the same.
 */
#include "guard_tc.bpf.h"
#include "guard_frame_answer.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct xdp_rxq_info {
	struct net_device *dev;
};

struct xdp_buff {
	struct xdp_rxq_info *rxq;
};

#pragma clang attribute pop

/* The answer to a SYN; 0: it failed. */
INLINE int answer_frame(struct xdp_md *xdp, struct packet *p, struct place place, const struct options *o,
			const struct listener *l, u64 now)
{
	const struct xdp_buff *kernel = bpf_cast_to_kern_ctx(xdp);
	struct answer a = {};

	compose(&a, p, place, o, l, now);
	a.mss = our_mss(kernel->rxq->dev, place, l->user_mss);
	return place.v6 ? send_frame_v6(xdp, p, &a) : send_frame_v4(xdp, p, &a);
}

INLINE int on_syn_frame(struct xdp_md *xdp, struct packet *p, struct place place)
{
	struct guard_counts *c = counted();
	u64 now = bpf_ktime_get_coarse_ns(), began;
	struct listener l = {};
	struct options o = {};
	int verdict;

	if (!c)
		return XDP_PASS;
	began = begin(c);
	read_options(xdp, p, place, &o);
	if (may_answer(xdp, xdp->ingress_ifindex, p, place, &o, c, &l, now) != GUARD_REASONS) {
		/* may_answer() counted the SYN for its listener; the program at tc sees it next and counts it again. */
		if (l.counts)
			l.counts->syns--;
		return XDP_PASS;
	}
	if (is_too_many(p, place, now)) {
		c->syns++;
		c->capped++;
		return XDP_DROP;
	}
	verdict = answer_frame(xdp, p, place, &o, &l, now);
	if (!verdict)
		return XDP_PASS;
	c->syns++;
	c->fronted++;
	count_answer(c, &l, began);
	return verdict;
}

OUTLINED int on_syn_frame_v4(struct xdp_md *xdp, struct packet *p)
{
	return p ? on_syn_frame(xdp, p, (struct place){ MAC_HEADER, false }) : XDP_PASS;
}

OUTLINED int on_syn_frame_v6(struct xdp_md *xdp, struct packet *p)
{
	return p ? on_syn_frame(xdp, p, (struct place){ MAC_HEADER, true }) : XDP_PASS;
}

INLINE int on_frame(struct xdp_md *xdp, struct place place)
{
	struct packet p = {};

	if (read_frame(xdp, place, &p) != IS_TCP || !is_guarded_port(p.local_port) ||
	    (p.flags & ~(FLAG_ECE | FLAG_CWR)) != FLAG_SYN)
		return XDP_PASS;
	return place.v6 ? on_syn_frame_v6(xdp, &p) : on_syn_frame_v4(xdp, &p);
}

SEC("xdp")
int halfopen_guardx(struct xdp_md *xdp)
{
	return on_ethernet(xdp);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
