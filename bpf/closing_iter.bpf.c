// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The same records as closing.bpf.c, by the kernel's iterator; read it to its end. */
#include "socket.bpf.h"

SEC("iter/tcp")
int closing_iter(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_timewait_sock *tw = 0;
	struct socket_record r[2] = {};
	struct tcp_sock *tp = 0;
	u8 state;

	if (!skc)
		return 0;
	state = skc->skc_state;
	if (state == TCP_LISTEN || state == TCP_NEW_SYN_RECV || state == TCP_SYN_RECV)
		return 0;
	if (state == TCP_TIME_WAIT)
		tw = bpf_skc_to_tcp_timewait_sock(skc);
	else
		tp = bpf_skc_to_tcp_sock(skc);
	if (tw)
		state = tw->tw_sk.tw_substate;
	else if (!tp)
		return 0;
	if (!(states >> (state & 31) & 1))
		return 0;
	if (socket_records(r, skc, tp, tw ? &tw->tw_sk : 0, state) == RECORDS_SIZE)
		bpf_seq_write(ctx->meta->seq, r, RECORDS_SIZE);
	else
		bpf_seq_write(ctx->meta->seq, r, RECORD_SIZE);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
