// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The SYN queue of every listener. The iterator visits listeners before all other sockets. The program stops it at the
 * first socket that is no listener, so the cost depends on the number of listeners alone.
 *
 * The kernel searches for the next socket before it calls the program. In a namespace without other sockets that search
 * would scan the whole hash, which all namespaces share, so the program stops *at* the last listener where it knows how
 * many there are. Stopping at a socket discards the bytes written for it: that record is handed over in `last`.
 *
 * A reader that looks again every second finds nothing new most of the time. The program adds up a digest of all that a
 * reading shows of the listeners; asked to be `quiet`, it does nothing else, and the reader keeps what it has where the
 * digest is the same as before.
 */
#include "compat.bpf.h"
#include "events.h"

RECORD(pulse_record);

/* In: how many listeners there are; 0: not known. */
u64 expected;
/* In: only the digest is wanted. */
u64 quiet;
/* Out, from what the reader put there: a sum that does not depend on the order of the listeners. */
u64 digest;
/* Out: the record of the listener at which the walk was stopped; family 0: it was stopped after the last one. */
struct pulse_record last;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* What is behind ___ does not count for the name of the type. */
struct sock___pulse {
	struct sock_common __sk_common;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	atomic_t sk_drops;
};

struct inet_sock___pulse {
	struct sock___pulse sk;
};

struct inet_connection_sock___pulse {
	struct inet_sock___pulse icsk_inet;
};

struct tcp_sock___pulse {
	struct inet_connection_sock___pulse inet_conn;
};

#pragma clang attribute pop

INLINE u64 mixed(u64 sum, u64 word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
	return sum ^ (sum >> 29);
}

/* Of one listener: its record, and what sock_diag shows of it beside what stays the same as long as it is there. */
INLINE u64 digest_of(const struct pulse_record *r, const struct sock___pulse *sk)
{
	u64 sum = mixed(r->cookie, r->oldest_us);

	sum = mixed(sum, (u64)r->oldest_isn << 32 | (u32)r->qlen);
	sum = mixed(sum, (u64)(u32)r->young << 32 | (u32)r->port << 16 | (u32)r->syn_retries << 8 | r->defer_accept);
	sum = mixed(sum, (u64)sk->sk_ack_backlog << 32 | sk->sk_max_ack_backlog);
	return mixed(sum, (u32)sk->sk_drops.counter);
}

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
	u64 sum = 0;

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
		sum = digest_of(&r, &((struct tcp_sock___pulse *)tp)->inet_conn.icsk_inet.sk);
	}
	if (expected && ctx->meta->seq_num + 1 >= expected) {
		/* A further read() comes to this listener again. */
		if (!last.family)
			digest += sum;
		last = r;
		return 1;
	}
	/* Where there is no room for the record, the program comes to this listener again. */
	if (tp && (quiet || !bpf_seq_write(ctx->meta->seq, &r, sizeof(r))))
		digest += sum;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
