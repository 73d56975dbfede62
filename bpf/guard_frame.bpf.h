/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Frames in front of the kernel (XDP), as the guard reads them. */
#pragma once
#include "guard_maps.bpf.h"

#define XDP_DROP 1
#define XDP_PASS 2
#define XDP_TX 3

#define TCP_MOST (TCP_HEADER + OPTIONS_MOST)

static long (*const bpf_xdp_adjust_tail)(void *xdp, int by) = (void *)65;
/* Both in v5.18. */
static long (*const bpf_xdp_load_bytes)(void *xdp, u32 offset, void *to, u32 len) = (void *)189;
static long (*const bpf_xdp_store_bytes)(void *xdp, u32 offset, const void *from, u32 len) = (void *)190;

/* Reads the headers of a frame. */
INLINE enum reading read_frame(struct xdp_md *xdp, struct place place, struct packet *p)
{
	const void *data = (const void *)(unsigned long)xdp->data, *end = (const void *)(unsigned long)xdp->data_end;
	enum reading found;

	if (data + TRANSPORT(place) + TCP_HEADER > end)
		return NOT_TCP;
	found = read_addresses(data + NETWORK(place), place, p);
	if (found == IS_TCP)
		read_tcp(data + TRANSPORT(place), p);
	return found;
}

/* Each program has its own. */
INLINE int on_frame(struct xdp_md *xdp, struct place place);

INLINE int on_ethernet(struct xdp_md *xdp)
{
	const u8 *data = (const u8 *)(unsigned long)xdp->data, *end = (const u8 *)(unsigned long)xdp->data_end;
	be16 type;

	/* TCP takes no SYN from a multicast or broadcast frame. */
	if (data + MAC_HEADER > end || data[0] & 1)
		return XDP_PASS;
	type = *(const be16 *)(data + 12);
	if (type == ETH_P_IP_BE)
		return on_frame(xdp, (struct place){ MAC_HEADER, false });
	if (type == ETH_P_IPV6_BE)
		return on_frame(xdp, (struct place){ MAC_HEADER, true });
	return XDP_PASS;
}
