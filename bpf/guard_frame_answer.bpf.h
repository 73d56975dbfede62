/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Answering a SYN in front of the kernel (XDP): its options, and the SYN-ACK written over it. */
#pragma once
#include "guard_frame.bpf.h"

/* The options of a SYN. False where they cannot be read. */
INLINE bool frame_options(struct xdp_md *xdp, struct place place, const struct packet *p, struct options *o)
{
	const void *data = (const void *)(unsigned long)xdp->data, *end = (const void *)(unsigned long)xdp->data_end;
	const u32 at = TRANSPORT(place) + TCP_HEADER;
	struct option_walk w = { .length = p->options };
	u32 length = p->options;

	o->wscale = WSCALE_NONE;
	if (!length)
		return true;
	if (length == LINUX_SYN_BYTES && data + at + LINUX_SYN_BYTES <= end && usual_syn_options(data + at, o))
		return true;
	w.found = *o;
	asm volatile("" : "+r"(length));
	if (length < 1 || length > OPTIONS_MOST)
		return false;
	length = AT_LEAST(1, length, 63);
	if (bpf_xdp_load_bytes(xdp, at, w.bytes, length))
		return false;
	bpf_loop(OPTIONS_MOST, read_option, &w, 0);
	*o = w.found;
	return !o->broken;
}

/* Sends the answer back; 0: it failed. */
INLINE int send_frame(struct xdp_md *xdp, const struct packet *p, const struct answer *a, struct place place)
{
	/* A length, as bpf_xdp_adjust_tail() invalidates pointers into the packet. */
	u64 had = (unsigned long)xdp->data_end - (unsigned long)xdp->data;
	union frame f = {};
	u32 length;

	if (bpf_xdp_load_bytes(xdp, 6, f.bytes + 2, 6) || bpf_xdp_load_bytes(xdp, 0, f.bytes + 8, 6))
		return 0;
	f.half[7] = place.v6 ? ETH_P_IPV6_BE : ETH_P_IP_BE;
	length = TRANSPORT(place) + write_tcp(&f, p, place, a, false);
	if (had != length && bpf_xdp_adjust_tail(xdp, (int)length - (int)had))
		return 0;
	asm volatile("" : "+r"(length));
	if (length < TRANSPORT(place) + TCP_HEADER || length > TRANSPORT(place) + TCP_HEADER + LINUX_SYN_BYTES)
		return 0;
	length = AT_LEAST(TRANSPORT(place) + TCP_HEADER, length, 31);
	return bpf_xdp_store_bytes(xdp, 0, f.bytes + FRAME_IP - MAC_HEADER, length) ? 0 : XDP_TX;
}

OUTLINED int send_frame_v4(struct xdp_md *xdp, struct packet *p, struct answer *a)
{
	return p && a ? send_frame(xdp, p, a, (struct place){ MAC_HEADER, false }) : 0;
}

OUTLINED int send_frame_v6(struct xdp_md *xdp, struct packet *p, struct answer *a)
{
	return p && a ? send_frame(xdp, p, a, (struct place){ MAC_HEADER, true }) : 0;
}

OUTLINED int frame_options_v4(struct xdp_md *xdp, struct packet *p, struct options *o)
{
	return p && o ? frame_options(xdp, (struct place){ MAC_HEADER, false }, p, o) : 0;
}

OUTLINED int frame_options_v6(struct xdp_md *xdp, struct packet *p, struct options *o)
{
	return p && o ? frame_options(xdp, (struct place){ MAC_HEADER, true }, p, o) : 0;
}

/* The options of a SYN; `broken` where they cannot be read. */
INLINE void read_options(struct xdp_md *xdp, struct packet *p, struct place place, struct options *o)
{
	if (!(place.v6 ? frame_options_v6(xdp, p, o) : frame_options_v4(xdp, p, o)))
		o->broken = true;
}
