/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The rungs in front (XDP), for kernels without bpf_sk_assign_tcp_reqsk(): they see SYNs alone. */
#pragma once
#include "guard_frame.bpf.h"

/* Each rung has its own. */
INLINE int on_syn(struct xdp_md *xdp, struct packet *p, struct place place);

/* By family: each is compiled, and walked by the verifier, once. */
OUTLINED int on_syn_v4(struct xdp_md *xdp, struct packet *p)
{
	return p ? on_syn(xdp, p, (struct place){ MAC_HEADER, false }) : XDP_PASS;
}

OUTLINED int on_syn_v6(struct xdp_md *xdp, struct packet *p)
{
	return p ? on_syn(xdp, p, (struct place){ MAC_HEADER, true }) : XDP_PASS;
}

INLINE int on_frame(struct xdp_md *xdp, struct place place)
{
	struct packet p = {};
	enum reading found = read_frame(xdp, place, &p);
	struct guard_counts *c;

	if (found == NOT_TCP || (found == IS_TCP && !is_guarded_port(p.local_port)))
		return XDP_PASS;
	if (found == IS_UNUSUAL) {
		c = counted();
		if (c)
			c->unusual++;
		return XDP_PASS;
	}
	if ((p.flags & ~(FLAG_ECE | FLAG_CWR)) != FLAG_SYN)
		return XDP_PASS;
	return place.v6 ? on_syn_v6(xdp, &p) : on_syn_v4(xdp, &p);
}

SEC("xdp")
int halfopen_guard(struct xdp_md *xdp)
{
	return on_ethernet(xdp);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
