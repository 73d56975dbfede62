// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The SYN queue of every listener. The iterator visits listeners before all other sockets. The program stops it at the
 * first socket that is no listener, so the cost depends on the number of listeners alone.
 *
 * The kernel searches for the next socket before it calls the program. In a namespace without other sockets that search
 * would scan the whole hash, which all namespaces share, so the program stops *at* the last listener where it knows how
 * many there are. Stopping at a socket discards the bytes written for it: that record is handed over in `last`.
 */
#include "compat.bpf.h"
#include "events.h"

RECORD(pulse_record);

/* In: how many listeners there are; 0: not known. */
u64 expected;
/* Out: the record of the listener at which the walk was stopped; family 0: it was stopped after the last one. */
struct pulse_record last;

/* What tells the connection that accept() takes next; the iterator holds the lock that accept() takes. */
INLINE void oldest(struct pulse_record *r, const struct request_sock *head)
{
	const struct tcp_request_sock *req = (const struct tcp_request_sock *)head;

	if (!req)
		return;
	bpf_probe_read_kernel(&r->oldest_us, sizeof(r->oldest_us), &req->snt_synack);
	bpf_probe_read_kernel(&r->oldest_isn, sizeof(r->oldest_isn), &req->snt_isn);
}

SEC("iter/tcp")
int pulse(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct pulse_record r = {};
	struct tcp_sock *tp;

	if (!skc)
		return 0;
	if (skc->skc_state != TCP_LISTEN)
		return 1;
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp) {
		struct inet_connection_sock *icsk = &tp->inet_conn;

		r.cookie = skc->skc_cookie.counter;
		r.qlen = icsk->icsk_accept_queue.qlen.counter;
		r.young = icsk->icsk_accept_queue.young.counter;
		r.port = skc->skc_num;
		r.family = skc->skc_family;
		r.syn_retries = icsk->icsk_syn_retries;
		r.defer_accept = icsk->icsk_accept_queue.rskq_defer_accept;
		oldest(&r, icsk->icsk_accept_queue.rskq_accept_head);
	}
	if (expected && ctx->meta->seq_num + 1 >= expected) {
		last = r;
		return 1;
	}
	if (tp)
		bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
