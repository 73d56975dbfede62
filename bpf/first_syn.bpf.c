// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The last rung of the guard: while a queue fills, the first SYN of a connection is dropped, and the one that the
 * client sends again after a second is left to the kernel. Every client pays that second; a flood whose SYNs come once
 * each fills no queue. It needs nothing of the kernel but XDP, not even SYN cookies.
 */
#include "guard_front.bpf.h"

/*
 * 16 MiB. At 200,000 SYNs a second, 5 % of clients lose their entry to another SYN before they retransmit, and wait
 * once more.
 */
#define SEEN_BITS 22
/* Times are kept in ticks of 2^29 ns (0.54 s). A SYN counts as sent again 1 to 32 ticks after the first. */
#define TICK_BITS_SEEN 29
#define TICKS_MOST 32

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1 << SEEN_BITS];
	u32 *key;
	u32 *value;
} seen SEC(".maps");

/*
 * Whether this SYN came before, at least a tick ago. An entry of `seen` has 24 bits of the hash of the SYN, and the
 * tick in the other eight.
 */
INLINE bool came_before(const struct packet *p, struct place place, u64 now)
{
	u64 key[2] = { settings.seed, ~settings.seed }, hash = sign(key, p, place.v6, p->seq, 0, 0);
	u32 at = hash & ((1U << SEEN_BITS) - 1), mark = (u32)(hash >> 32) & ~0xffU;
	u8 tick = now >> TICK_BITS_SEEN, age;
	u32 *known = bpf_map_lookup_elem(&seen, &at);

	if (!known)
		return true;
	age = tick - (u8)*known;
	if ((*known & ~0xffU) == mark && age <= TICKS_MOST)
		return age > 0;
	*known = mark | tick;
	return false;
}

INLINE int on_syn(struct xdp_md *xdp, struct packet *p, struct place place)
{
	struct guard_counts *c = counted();
	u64 now = bpf_ktime_get_ns();
	struct listener l = {};
	u32 why;

	if (!c)
		return XDP_PASS;
	c->syns++;
	why = concerns(p, place, xdp->ingress_ifindex, c, now);
	if (why == GUARD_REASONS)
		why = find_listener(xdp, p, place, &l);
	if (why != GUARD_REASONS)
		return pass(c, why, XDP_PASS);
	if (came_before(p, place, now))
		return pass(c, GUARD_SECOND, XDP_PASS);
	c->held++;
	return XDP_DROP;
}
