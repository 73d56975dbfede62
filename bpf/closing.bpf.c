// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Every socket of a namespace that is neither a listener nor a request socket, by a walk of our own through the
 * kernel's hash (hash.bpf.h); or only how many there are in each state.
 */
#include "hash.bpf.h"
#include "socket.bpf.h"

#define STATES 16

/* In: write nothing, only count. */
u32 counting;
/* Out: how many sockets are in each state; minisockets in FIN_WAIT2 count as FIN_WAIT2. */
u32 counts[STATES];
/* Out: how many of the sockets in FIN_WAIT2 are minisockets: no process holds these. */
u32 orphaned;

static u32 counts_before[STATES];
static u32 orphaned_before;

/* One field of each cache line that visit() will read. */
INLINE u64 prefetch(u64 socket)
{
	const struct tcp_sock *tp = AT(tcp_sock, socket);
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	u64 sum = sk->__sk_common.skc_state + sk->__sk_common.skc_refcnt.refs.counter;

	if (counting)
		return sum;
	if (FIELD(sk, sk_ino, FIELD_EXISTS))
		sum += sk->sk_ino;
	return sum + sk->sk_backlog.rmem_alloc.counter + sk->sk_forward_alloc + sk->sk_uid.val +
	       tp->inet_conn.icsk_pending + tp->copied_seq + tp->lsndtime + tp->rcv_nxt + tp->rcv_tstamp +
	       tp->bytes_received;
}

INLINE void chain_begins(void)
{
	__builtin_memcpy(counts_before, counts, sizeof(counts));
	orphaned_before = orphaned;
}

INLINE void chain_again(void)
{
	__builtin_memcpy(counts, counts_before, sizeof(counts));
	orphaned = orphaned_before;
}

INLINE void chain_ends(void)
{
}

struct both_records {
	struct socket_record r[2];
};

/*
 * A global function, which the verifier checks once and by itself: inside the loops of hash.bpf.h, one in another, each
 * of its branches would count many times over, and from Linux 7 on the whole is too much for it.
 */
__attribute__((noinline)) u32 write_records(struct both_records *both, u64 socket, u32 state)
{
	const struct sock_common *skc = AT(sock_common, socket);

	if (!both)
		return 0;
	if (skc->skc_state == TCP_TIME_WAIT)
		return socket_records(both->r, skc, 0, AT(inet_timewait_sock, socket), state);
	return socket_records(both->r, skc, AT(tcp_sock, socket), 0, state);
}

static int visit(u32 i, struct place *to)
{
	struct both_records both = {};
	struct sock_common *skc;
	u32 at = used, size;
	u64 socket;
	u8 state;
	bool mini;

	if (IS_END(node) || !node)
		return 1;
	socket = SOCKET_OF(node);
	skc = AT(sock_common, socket);
	node = (u64)skc->skc_nulls_node.next;
	visited++;
	if ((u64)skc->skc_net.net != whose || !skc->skc_refcnt.refs.counter)
		return 0;
	state = skc->skc_state;
	if (state == TCP_NEW_SYN_RECV || state == TCP_SYN_RECV)
		return 0;
	mini = state == TCP_TIME_WAIT;
	if (mini)
		state = AT(inet_timewait_sock, socket)->tw_substate;
	state &= STATES - 1;
	counts[state]++;
	if (mini && state == TCP_FIN_WAIT2)
		orphaned++;
	if (counting || !(states >> state & 1))
		return 0;
	size = write_records(&both, socket, state);
	/* Freed and reused while it was read? Then the record may mix two sockets. */
	if (!skc->skc_refcnt.refs.counter || (skc->skc_hash & (buckets - 1)) != chain_number)
		return 0;
	if (at > ROOM - RECORDS_SIZE) {
		no_room = 1;
		return 1;
	}
	__builtin_memcpy(to->room + at, &both.r[0], RECORD_SIZE);
	if (size == RECORDS_SIZE)
		__builtin_memcpy(to->room + at + RECORD_SIZE, &both.r[1], RECORD_SIZE);
	used = at + size;
	return 0;
}

/* Runs once for a reading, in a thread of the namespace to read. */
SEC("raw_tp/sys_enter")
int begin(void *ctx)
{
	walk_begins();
	__builtin_memset(counts, 0, sizeof(counts));
	orphaned = 0;
	return 0;
}

/* Writes to the buffer whose index is the first argument. To be run until `bucket` reaches `last`. */
SEC("raw_tp/sys_enter")
int walk(u64 *arguments)
{
	walk_on(arguments[0]);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
