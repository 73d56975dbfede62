// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Every request socket of a namespace, with its exact age, timer and retransmissions; read the iterator to its end. */
#include "request.bpf.h"

SEC("iter/tcp")
int census(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_request_sock *treq;
	struct census_named r = {};
	u32 size;
	u8 state;

	if (!skc)
		return 0;
	if (!ctx->meta->seq_num)
		began = bpf_ktime_get_ns() / 1000;
	state = skc->skc_state;
	if (state != TCP_NEW_SYN_RECV) {
		if (state == TCP_SYN_RECV)
			full++;
		return 0;
	}
	treq = bpf_skc_to_tcp_request_sock(skc);
	if (!treq)
		return 0;
	size = request_record(&r, skc, treq, 0);
	if (size == sizeof(struct census_short))
		bpf_seq_write(ctx->meta->seq, &r, sizeof(struct census_short));
	else if (size == sizeof(struct census_long))
		bpf_seq_write(ctx->meta->seq, &r, sizeof(struct census_long));
	else
		bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
