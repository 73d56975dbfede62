/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the kernel's iterator over TCP sockets shows of a request socket, as a record. */
#pragma once
#include "request.bpf.h"

/* Writes the record of a request socket. Returns whether the socket is one. */
INLINE bool write_request(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_request_sock *treq;
	struct census_named r = {};
	u32 size;
	u8 state;

	if (!skc)
		return false;
	if (!ctx->meta->seq_num)
		began = bpf_ktime_get_ns() / 1000;
	state = skc->skc_state;
	if (state != TCP_NEW_SYN_RECV) {
		if (state == TCP_SYN_RECV)
			full++;
		return false;
	}
	treq = bpf_skc_to_tcp_request_sock(skc);
	if (!treq)
		return false;
	size = request_record(&r, skc, treq, 0);
	if (size == sizeof(struct census_short))
		bpf_seq_write(ctx->meta->seq, &r, sizeof(struct census_short));
	else if (size == sizeof(struct census_long))
		bpf_seq_write(ctx->meta->seq, &r, sizeof(struct census_long));
	else
		bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return true;
}
