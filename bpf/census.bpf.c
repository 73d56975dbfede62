// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Every request socket of a namespace: exact age, timer, retransmissions. Iterator fd: read to the end. */
#include "compat.bpf.h"
#include "events.h"

RECORD(census_short);
RECORD(census_long);

/* In: write the long form for all, so that they are of one size where both kinds are to be expected. */
u32 uniform;
/* Out: how many sockets in true SYN_RECV were passed over: they are no request sockets. */
u32 full;
/* Out: the clock at the first socket, us; ages are reckoned from it. Asking for each would cost a tenth of the walk. */
u64 began;

SEC("iter/tcp")
int census(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_request_sock *treq;
	struct request_sock *req;
	struct census_long r = {};
	u64 sent;
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
	req = &treq->req.req;
	sent = treq->snt_synack;
	r.kind = skc->skc_family;
	r.retransmits = req->num_retrans;
	r.timeouts = READ_BITS(req, num_timeout);
	r.flags = READ_BITS(&treq->req, acked) ? CENSUS_ACKED : 0;
	if (!sent)
		r.flags |= CENSUS_NOT_SENT;
	r.remote_port = skc->skc_dport;
	r.local_port = skc->skc_num;
	r.sent = sent >> 6;
	r.expires_jiffies = req->rsk_timer.expires - bpf_jiffies64();
	r.ifindex = skc->skc_bound_dev_if;
	if (r.kind == AF_INET && !r.ifindex && !uniform) {
		struct census_short *brief = (void *)&r;

		brief->remote = skc->skc_daddr;
		brief->local = skc->skc_rcv_saddr;
		bpf_seq_write(ctx->meta->seq, brief, sizeof(*brief));
		return 0;
	}
	if (r.kind == AF_INET6) {
		__builtin_memcpy(r.remote, skc->skc_v6_daddr.in6_u.u6_addr32, 16);
		__builtin_memcpy(r.local, skc->skc_v6_rcv_saddr.in6_u.u6_addr32, 16);
	} else {
		r.kind |= CENSUS_LONG;
		r.remote[0] = skc->skc_daddr;
		r.local[0] = skc->skc_rcv_saddr;
	}
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
