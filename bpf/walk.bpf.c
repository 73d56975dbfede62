// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Writes the same records as census.bpf.c, but walks the kernel's hash of established sockets itself (hash.bpf.h). */
#include "hash.bpf.h"
#include "request.bpf.h"

/* In: write nothing, only find how many request sockets the `longest` chain holds. */
u32 measuring;
u32 longest;

static u32 found;
static u32 full_before;

INLINE u64 prefetch(u64 socket)
{
	return AT(tcp_request_sock, socket)->snt_synack;
}

INLINE void chain_begins(void)
{
	full_before = full;
	found = 0;
}

INLINE void chain_again(void)
{
	full = full_before;
	found = 0;
}

INLINE void chain_ends(void)
{
	if (found > longest)
		longest = found;
}

static int visit(u32 i, struct place *to)
{
	struct sock_common *skc;
	struct census_named r = {};
	u32 at = used, size;
	u8 state;

	if (IS_END(node) || !node)
		return 1;
	skc = AT(sock_common, SOCKET_OF(node));
	node = (u64)skc->skc_nulls_node.next;
	visited++;
	if ((u64)skc->skc_net.net != whose || !skc->skc_refcnt.refs.counter)
		return 0;
	state = skc->skc_state;
	if (state != TCP_NEW_SYN_RECV) {
		if (state == TCP_SYN_RECV)
			full++;
		return 0;
	}
	found++;
	if (measuring)
		return 0;
	size = request_record(&r, skc, AT(tcp_request_sock, skc), chain_number);
	/* Freed and reused while it was read? Then the record may mix two sockets. */
	if (!skc->skc_refcnt.refs.counter || (skc->skc_hash & (buckets - 1)) != chain_number)
		return 0;
	if (at > ROOM - sizeof(r)) {
		no_room = 1;
		return 1;
	}
	if (size == sizeof(struct census_short))
		__builtin_memcpy(to->room + at, &r, sizeof(struct census_short));
	else if (size == sizeof(struct census_long))
		__builtin_memcpy(to->room + at, &r, sizeof(struct census_long));
	else
		__builtin_memcpy(to->room + at, &r, sizeof(r));
	used = at + size;
	return 0;
}

/* Runs once for a reading, in a thread of the namespace to read. */
SEC("raw_tp/sys_enter")
int begin(void *ctx)
{
	walk_begins();
	longest = 0;
	full = 0;
	began = bpf_ktime_get_ns() / 1000;
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
