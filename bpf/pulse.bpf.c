// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The SYN queue of every listener. The iterator visits listeners before all other sockets. The program stops it at the
 * first socket that is no listener, so the cost depends on the number of listeners alone.
 *
 * The kernel searches for the next socket before it calls the program. In a namespace without other sockets that search
 * would scan the whole hash, which all namespaces share, so the program stops *at* the last listener where it knows how
 * many there are. Stopping at a socket discards the bytes written for it: that record is handed over in `last`.
 *
 * A reader that looks every second finds nothing new most of the time. So the program also computes a digest of
 * everything that a reading shows of the listeners. If it is asked to be `quiet` it writes no records: the reader
 * compares the digest with that of its last reading, and keeps that reading if they are equal.
 */
#include "compat.bpf.h"
#include "events.h"

RECORD(pulse_record);

/* In: how many listeners there are; 0: not known. */
u64 expected;
/* In: compute the digest only, write no records. */
u64 quiet;
/*
 * In and out: the digests of all listeners are added to the value that the reader set, so their order does not matter.
 */
u64 digest;
/* Out: the record of the listener at which the walk was stopped; family 0: it was stopped after the last one. */
struct pulse_record last;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* More members of types in kernel.bpf.h: libbpf ignores ___ and what follows when it looks for the kernel's type. */
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

/* The digest of one listener: its record, and what else sock_diag shows of it that can change while it listens. */
INLINE u64 digest_of(const struct pulse_record *r, const struct sock___pulse *sk)
{
	u64 sum = mixed(r->cookie, r->oldest_us);

	sum = mixed(sum, (u64)r->oldest_isn << 32 | (u32)r->qlen);
	sum = mixed(sum, (u64)(u32)r->young << 32 | (u32)r->port << 16 | (u32)r->syn_retries << 8 | r->defer_accept);
	sum = mixed(sum, (u64)sk->sk_ack_backlog << 32 | sk->sk_max_ack_backlog);
	return mixed(sum, (u32)sk->sk_drops.counter);
}

/*
 * Identifies the connection that accept() will take next. The queue cannot change: the iterator holds the socket's
 * lock.
 */
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
		/* read() after the stop visits this listener again: do not count it twice. */
		if (!last.family)
			digest += sum;
		last = r;
		return 1;
	}
	/* If the record does not fit the buffer, the kernel shows this listener again: it is counted then. */
	if (tp && (quiet || !bpf_seq_write(ctx->meta->seq, &r, sizeof(r))))
		digest += sum;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
