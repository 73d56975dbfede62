/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One request socket as a record, as both census and walk write it. */
#pragma once
#include "compat.bpf.h"
#include "events.h"

RECORD(census_short);
RECORD(census_long);
RECORD(census_named);

/*
 * In: write the long form for every socket: where both families are likely, records of one size are quicker to parse.
 */
u32 uniform;
/* In: write the named form for every socket. */
u32 named;
/* Out: full sockets in TCP_SYN_RECV (Fast Open, simultaneous open), which are no request sockets and were skipped. */
u32 full;
/*
 * Out: CLOCK_MONOTONIC at the start, us. All ages refer to it: reading the clock for each socket would cost a tenth
 * more.
 */
u64 began;

/* Writes the record, in one of its three forms, and returns its size. */
INLINE u32 request_record(struct census_named *r, const struct sock_common *skc, const struct tcp_request_sock *treq,
			  u32 chain)
{
	const struct request_sock *req = &treq->req.req;
	u64 sent = treq->snt_synack;

	r->kind = skc->skc_family;
	r->retransmits = req->num_retrans;
	r->timeouts = READ_BITS(req, num_timeout);
	r->flags = READ_BITS(&treq->req, acked) ? CENSUS_ACKED : 0;
	if (!sent)
		r->flags |= CENSUS_NOT_SENT;
	r->remote_port = skc->skc_dport;
	r->local_port = skc->skc_num;
	r->sent = sent >> 6;
	r->chain = chain;
	r->expires_jiffies = req->rsk_timer.expires - bpf_jiffies64();
	if (r->kind == AF_INET && !skc->skc_bound_dev_if && !uniform && !named) {
		struct census_short *brief = (void *)r;

		brief->remote = skc->skc_daddr;
		brief->local = skc->skc_rcv_saddr;
		return sizeof(*brief);
	}
	r->ifindex = skc->skc_bound_dev_if;
	if (r->kind == AF_INET6) {
		__builtin_memcpy(r->remote, skc->skc_v6_daddr.in6_u.u6_addr32, 16);
		__builtin_memcpy(r->local, skc->skc_v6_rcv_saddr.in6_u.u6_addr32, 16);
	} else {
		r->kind |= named ? 0 : CENSUS_LONG;
		r->remote[0] = skc->skc_daddr;
		r->local[0] = skc->skc_rcv_saddr;
	}
	if (!named)
		return sizeof(struct census_long);
	r->kind |= CENSUS_NAMED;
	r->cookie = skc->skc_cookie.counter;
	return sizeof(*r);
}
