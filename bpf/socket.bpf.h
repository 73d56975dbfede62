/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One socket as a record of 64 bytes, as both closing and closing_iter write it. */
#pragma once
#include "compat.bpf.h"
#include "events.h"

RECORD(socket_record);
RECORD(socket_wide);

#define SOCK_DEAD 0
#define SOCK_KEEPOPEN 3
/*
 * Timers, as inet_diag numbers them (inet_sk_diag_fill()); those that detect losses (TLP, RACK) count as
 * TIMER_RETRANSMIT.
 */
#define TIMER_RETRANSMIT 1
#define TIMER_KEEPALIVE 2
#define TIMER_MINI 3
#define TIMER_PROBE 4
/* Of icsk_pending (include/net/inet_connection_sock.h). */
#define ICSK_TIME_PROBE0 3
#define LONGEST_MS 0x7fffffff
#define RECORD_SIZE sizeof(struct socket_record)
#define RECORDS_SIZE (2 * RECORD_SIZE)

/* In: the states of the sockets to show, one bit each. */
u32 states;
/* In: the size of a page, as a power of two. */
u32 page_shift;
/* In: milliseconds per jiffy, times 2^20: programs know no floating point, and no HZ. */
u32 jiffy_ms;

struct socket_alloc;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct inode___sockfs {
	unsigned long i_ino;
};

struct socket_alloc {
	struct inode___sockfs vfs_inode;
};

#pragma clang attribute pop

/* The inode of the socket's file; 0 where there is none. */
INLINE u32 inode_of(const struct sock *sk)
{
	struct socket *socket = 0;
	unsigned long number = 0;

	if (FIELD(sk, sk_ino, FIELD_EXISTS))
		return sk->sk_ino;
	bpf_probe_read_kernel(&socket, sizeof(socket), &sk->sk_socket);
	if (!socket)
		return 0;
	/* struct socket is the first member of struct socket_alloc (include/net/sock.h). */
	bpf_probe_read_kernel(&number, sizeof(number),
			      (void *)socket + FIELD((struct socket_alloc *)0, vfs_inode.i_ino, FIELD_BYTE_OFFSET));
	return number;
}

/* The state of a socket. A minisocket is always in TCP_TIME_WAIT; tw_substate says whether it stands for FIN_WAIT2. */
INLINE u8 state_of(const struct sock_common *skc, const struct inet_timewait_sock *tw)
{
	return skc->skc_state == TCP_TIME_WAIT && tw ? tw->tw_substate : skc->skc_state;
}

INLINE bool is_wide(const struct sock_common *skc)
{
	const be32 *at = skc->skc_v6_daddr.in6_u.u6_addr32;

	/* The mapped prefix ::ffff:0:0/96, in network order on a little-endian machine. */
	return skc->skc_family == AF_INET6 && (at[0] || at[1] || at[2] != 0xffff0000);
}

/* Converts jiffies to milliseconds. */
INLINE u32 since_ms(u32 jiffies)
{
	u64 ms = (u64)jiffies * jiffy_ms >> 20;

	return ms > LONGEST_MS ? LONGEST_MS : ms;
}

/* Milliseconds until a timer runs out; negative if it is overdue. */
INLINE s32 until_ms(unsigned long expires)
{
	s32 jiffies = expires - bpf_jiffies64();

	return jiffies < 0 ? -(s32)since_ms(-jiffies) : since_ms(jiffies);
}

INLINE void timers(struct socket_record *r, const struct tcp_sock *tp)
{
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	const struct sock *sk = &icsk->icsk_inet.sk;

	u8 pending = icsk->icsk_pending;

	r->timer = pending > ICSK_TIME_PROBE0 ? TIMER_RETRANSMIT : pending == ICSK_TIME_PROBE0 ? TIMER_PROBE : pending;
	r->retransmits = icsk->icsk_retransmits;
	r->probes = icsk->icsk_probes_out;
	if (r->timer) {
		/* Since commit 9a5e5334adc0 (in v6.19) it stands where the keepalive timer stood before. */
		if (FIELD(icsk, icsk_retransmit_timer, FIELD_EXISTS))
			r->expires_ms = until_ms(icsk->icsk_retransmit_timer.expires);
		else if (FIELD(sk, tcp_retransmit_timer, FIELD_EXISTS))
			r->expires_ms = until_ms(sk->tcp_retransmit_timer.expires);
	} else if (r->flags & SOCKET_KEEPALIVE) {
		r->timer = TIMER_KEEPALIVE;
		/* Since commit 08dfe370239e (in v6.19, and in stable kernels since) TCP has a field of its own. */
		if (FIELD(icsk, icsk_keepalive_timer, FIELD_EXISTS))
			r->expires_ms = until_ms(icsk->icsk_keepalive_timer.expires);
		else if (FIELD(sk, sk_timer, FIELD_EXISTS))
			r->expires_ms = until_ms(sk->sk_timer.expires);
	}
}

INLINE void full_socket(struct socket_record *r, const struct tcp_sock *tp)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	u32 now = bpf_jiffies64();
	s32 bytes;

	r->inode = inode_of(sk);
	r->uid = sk->sk_uid.val;
	if (sk->__sk_common.skc_flags >> SOCK_DEAD & 1)
		r->flags |= SOCKET_ORPHAN;
	if (sk->__sk_common.skc_flags >> SOCK_KEEPOPEN & 1)
		r->flags |= SOCKET_KEEPALIVE;
	if (tp->data_segs_out)
		r->flags |= SOCKET_SENT;
	timers(r, tp);
	r->received_ms = since_ms(now - tp->inet_conn.icsk_ack.lrcvtime);
	r->sent_ms = since_ms(now - tp->lsndtime);
	r->heard_ms = since_ms(now - tp->rcv_tstamp);
	r->unread = tp->rcv_nxt - tp->copied_seq;
	r->unacked = tp->write_seq - tp->snd_una;
	r->bytes_received = tp->bytes_received;
	bytes = sk->sk_backlog.rmem_alloc.counter + sk->sk_wmem_queued + sk->sk_forward_alloc;
	bytes = bytes > 0 ? bytes >> (page_shift & 31) : 0;
	r->pages = bytes > 0xffff ? 0xffff : bytes;
}

/*
 * Writes the record of a socket, and the second one of an IPv6 socket, and returns the size of both. One of tp (a full
 * socket) and tw (a minisocket) is set.
 */
INLINE u32 socket_records(struct socket_record r[2], const struct sock_common *skc, const struct tcp_sock *tp,
			  const struct inet_timewait_sock *tw, u8 state)
{
	struct socket_wide *more = (void *)&r[1];
	u32 size = RECORD_SIZE;

	r->state = state;
	r->local_port = skc->skc_num;
	r->remote_port = skc->skc_dport;
	r->cookie = skc->skc_cookie.counter;
	if (skc->skc_bound_dev_if)
		r->flags |= SOCKET_BOUND;
	if (skc->skc_family == AF_INET6)
		r->flags |= SOCKET_V6;
	if (is_wide(skc)) {
		r->flags |= SOCKET_WIDE;
		more->flags = SOCKET_MORE;
		__builtin_memcpy(more->remote, skc->skc_v6_daddr.in6_u.u6_addr32, 16);
		__builtin_memcpy(more->local, skc->skc_v6_rcv_saddr.in6_u.u6_addr32, 16);
		size = RECORDS_SIZE;
	} else {
		r->remote = __builtin_bswap32(skc->skc_daddr);
		r->local = __builtin_bswap32(skc->skc_rcv_saddr);
	}
	if (tw) {
		r->flags |= SOCKET_MINI;
		r->timer = TIMER_MINI;
		r->expires_ms = until_ms(tw->tw_timer.expires);
	} else if (tp) {
		full_socket(r, tp);
	}
	return size;
}
