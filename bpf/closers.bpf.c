// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Changes to existing connections of any process: `retrofit` sets their keepalive options, `destroy` ends them. The
 * iterator holds the lock of the socket while the program runs (since v6.5), so what is checked here still holds when
 * it is acted on.
 *
 * If the buffer is full, the kernel runs the program again for the same socket (bpf_seq_read()). So the record is
 * written first, and the socket is changed and counted only if that succeeded: each socket is changed once, and has a
 * record.
 */
#include "socket.bpf.h"

RECORD(acted_record);
RECORD(meant_socket);

/* As the value of an option: leave the option as it is. As that of a condition: do not check it. */
#define ACT_LEAVE 0xffffffff
#define SOL_SOCKET 1
#define SO_KEEPALIVE 9
#define IPPROTO_TCP 6
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6
#define TCP_USER_TIMEOUT 18

/* In: the selected sockets, by cookie. The reader sets the size of the map. */
struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*max_entries)[1];
	u64 *key;
	struct meant_socket *value;
} victims SEC(".maps");

/* In: only sockets in `victims` are selected; otherwise every socket that `states` and `least_quiet` let through. */
u32 by_cookie;
/* In: spare sockets that received or sent data within this time, in jiffies. */
u32 least_quiet;
/* In: the options to set, unless `victims` has others for the socket. */
struct meant_socket wanted;
/* Out: how many changes the kernel refused after the record was written, and the last errno. */
u32 refused;
s32 last_errno;

INLINE u32 quiet_for(const struct tcp_sock *tp)
{
	u32 now = bpf_jiffies64();
	u32 received = now - tp->inet_conn.icsk_ack.lrcvtime, sent = now - tp->lsndtime;

	return received < sent ? received : sent;
}

/* Whether the socket, as it is now, is selected. Fills its record, and says what to set. */
INLINE bool is_meant(struct acted_record *r, struct meant_socket *value, struct sock_common *skc, struct tcp_sock *tp)
{
	u8 state = skc->skc_state;

	if (state == TCP_LISTEN || state == TCP_NEW_SYN_RECV || state == TCP_SYN_RECV || state == TCP_TIME_WAIT)
		return false;
	if (!(states >> (state & 31) & 1))
		return false;
	r->quiet = quiet_for(tp);
	if (r->quiet < least_quiet)
		return false;
	r->cookie = bpf_get_socket_cookie(skc);
	*value = wanted;
	if (by_cookie) {
		struct meant_socket *found = bpf_map_lookup_elem(&victims, &r->cookie);

		if (!found)
			return false;
		/*
		 * In another state, or with other unread data, the socket is not the one that was shown and confirmed.
		 */
		if (found->state != ACT_LEAVE && found->state != state)
			return false;
		if (found->unread != ACT_LEAVE && found->unread != tp->rcv_nxt - tp->copied_seq)
			return false;
		*value = *found;
	}
	r->state = state;
	r->keepalive = tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> SOCK_KEEPOPEN & 1;
	r->probes = tp->keepalive_probes;
	r->idle = tp->keepalive_time;
	r->interval = tp->keepalive_intvl;
	r->user_timeout_ms = tp->inet_conn.icsk_user_timeout;
	return true;
}

INLINE void set(struct tcp_sock *tp, int level, int name, u32 value)
{
	long code;

	if (value == ACT_LEAVE)
		return;
	code = bpf_setsockopt(tp, level, name, &value, sizeof(value));
	if (code) {
		refused++;
		last_errno = -code;
	}
}

SEC("iter/tcp")
int retrofit(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct meant_socket value = {};
	struct acted_record r = {};
	struct tcp_sock *tp;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp || !is_meant(&r, &value, skc, tp))
		return 0;
	if (bpf_seq_write(ctx->meta->seq, &r, sizeof(r)))
		return 0;
	/*
	 * SO_KEEPALIVE before TCP_KEEPIDLE: tcp_sock_set_keepidle_locked() rearms the timer only while keepalive is on,
	 * and lets the first probe leave at once if the connection has been idle for so long already.
	 */
	set(tp, SOL_SOCKET, SO_KEEPALIVE, value.keepalive);
	set(tp, IPPROTO_TCP, TCP_KEEPIDLE, value.idle_s);
	set(tp, IPPROTO_TCP, TCP_KEEPINTVL, value.interval_s);
	set(tp, IPPROTO_TCP, TCP_KEEPCNT, value.probes);
	set(tp, IPPROTO_TCP, TCP_USER_TIMEOUT, value.user_timeout_ms);
	return 0;
}

SEC("iter/tcp")
int destroy(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct meant_socket value = {};
	struct acted_record r = {};
	struct tcp_sock *tp;
	int code;

	if (!skc || !by_cookie)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp || !is_meant(&r, &value, skc, tp))
		return 0;
	if (bpf_seq_write(ctx->meta->seq, &r, sizeof(r)))
		return 0;
	code = bpf_sock_destroy(skc);
	if (code) {
		refused++;
		last_errno = -code;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
