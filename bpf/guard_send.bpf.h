/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Sending the guard's SYN-ACK at tc. In a file of its own, because a kernel refuses every object that names a kernel
 * function which it lacks: the rungs for older kernels must not include this one.
 */
#pragma once
#include "guard_answer.bpf.h"

/* Sends the answer back on the device that the SYN came in by. Returns the verdict for the packet; 0: it failed. */
INLINE int send(struct __sk_buff *skb, const struct packet *p, const struct answer *a, struct place place)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	bool partial = READ_BITS(kernel, ip_summed) == CHECKSUM_PARTIAL;
	union frame f = {};
	u32 length;

	if (place.link) {
		const u16 *link = (const u16 *)(unsigned long)skb->data;

		if ((const void *)link + MAC_HEADER > (const void *)(unsigned long)skb->data_end)
			return 0;
		/* The Ethernet header, its addresses exchanged. */
		for (int i = 0; i < 3; i++) {
			f.half[1 + i] = link[3 + i];
			f.half[4 + i] = link[i];
		}
		f.half[7] = place.v6 ? ETH_P_IPV6_BE : ETH_P_IP_BE;
	}
	length = TRANSPORT(place) + write_tcp(&f, p, place, a, partial);
	if (skb->len != length && bpf_skb_change_tail(skb, length, 0))
		return 0;
	asm volatile("" : "+r"(length));
	if (length < TRANSPORT(place) + TCP_HEADER || length > TRANSPORT(place) + TCP_HEADER + LINUX_SYN_BYTES)
		return 0;
	length = AT_LEAST(TRANSPORT(place) + TCP_HEADER, length, 31);
	if (bpf_skb_store_bytes(skb, 0, f.bytes + FRAME_IP - place.link, length, 0))
		return 0;
	return bpf_redirect(skb->ifindex, 0);
}

/* link: the bytes of the Ethernet header, 0 or MAC_HEADER. */
OUTLINED int send_v4(struct __sk_buff *skb, struct packet *p, struct answer *a, u32 link)
{
	if (!p || !a)
		return 0;
	return link ? send(skb, p, a, (struct place){ MAC_HEADER, false }) : send(skb, p, a, (struct place){ 0, false });
}

OUTLINED int send_v6(struct __sk_buff *skb, struct packet *p, struct answer *a, u32 link)
{
	if (!p || !a)
		return 0;
	return link ? send(skb, p, a, (struct place){ MAC_HEADER, true }) : send(skb, p, a, (struct place){ 0, true });
}
