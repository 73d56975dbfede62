/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A walk through the kernel's hash of established sockets as an RCU reader. It takes no lock and holds no socket, so
 * packet processing never waits for it, and it prefetches the sockets of many chains at once: a million are read in half
 * the time of a dump.
 *
 * The walk follows the rules of the kernel's own lookup (__inet_lookup_established(),
 * Documentation/RCU/rculist_nulls.rst). Until the RCU grace period ends, the memory of a socket stays a socket, but it
 * may be freed and reused for another socket, in another chain. Each chain ends in its own number: a walk that arrives
 * at another number has strayed, and reads the chain again. The reference count is 0 in a socket that is not in the
 * hash, or not yet.
 *
 * Each run reads a part of the hash, ends when another task wants the CPU, and keeps no pointer to a socket afterwards.
 *
 * The program that includes this defines, behind it: visit(), which takes one socket, and the four functions declared
 * below.
 */
#pragma once
#include "compat.bpf.h"

/* Output buffers: the program fills one while the reader works on the others. */
#define ROOM (512 * 1024)
#define ROOMS 3
/* Limits of a run, about 100 us, after which the reader yields. A pending reschedule ends the run sooner. */
#define SOCKETS_A_RUN 512
#define BUCKETS_A_RUN (16 * 1024)
/* Tighter limits for kernels whose BTF lacks thread_info.flags, where a pending reschedule cannot be seen. */
#define SOCKETS_BLIND 256
#define BUCKETS_BLIND 4096
/* Chains that are read side by side. */
#define GROUP 16
/* Sockets deeper in a chain than this are not prefetched. */
#define AHEAD 5
#define LONGEST_CHAIN 65536
/* The most chains that can be chosen. */
#define CHOSEN 16384
#define ATTEMPTS 4

struct room {
	u8 bytes[ROOM];
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*map_flags)[BPF_F_MMAPABLE];
	int (*max_entries)[ROOMS];
	u32 *key;
	struct room *value;
} rooms SEC(".maps");

/* In: the chosen chains, place -> chain number. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*map_flags)[BPF_F_MMAPABLE];
	int (*max_entries)[CHOSEN];
	u32 *key;
	u64 *value;
} chains SEC(".maps");

/* In: how many chains are chosen; 0 reads all. */
u32 chosen;
/*
 * The address of the hash, the namespace to read, the number of chains, the position of the walk. `begin` sets them,
 * `walk` continues from chain `bucket` to chain `last`: chain numbers, or places in `chains` where some are chosen.
 */
u64 table;
u64 whose;
u32 buckets;
u32 bucket;
u32 last;
/* In and out: bytes used of the buffer. `no_room` says that it is full; the reader then sets 0 and passes another. */
u32 used;
u32 no_room;
/* Out: chains that could not be read completely. */
u32 torn;

static u64 heads[GROUP];
static u64 here[GROUP];
static u64 next[GROUP];
static u32 numbers[GROUP];
static u64 node;
static u32 chain_number;
static u32 whole;
static u32 visited;
static u32 began_at_bucket;
static u64 flags_before;
/* Sink that keeps the compiler from dropping the prefetching loads. */
u64 fetched;

struct place {
	u8 *room;
};

#define AT(type, address) ((struct type *)bpf_rdonly_cast((void *)(address), __builtin_btf_type_id(*(struct type *)0, 1)))
#define SIZE_OF(type) __builtin_preserve_type_info(*(struct type *)0, 1)
#define IS_END(pointer) ((pointer) & 1)
#define SOCKET_OF(pointer) ((pointer) - FIELD((struct sock_common *)0, skc_nulls_node, FIELD_BYTE_OFFSET))

/* Takes the socket at `node`, sets `node` to the next one and counts it as visited. Ends the chain with 1. */
static int visit(u32 i, struct place *to);
/* Loads what visit() reads of the socket at this address; returns anything made of it. */
INLINE u64 prefetch(u64 socket);
/* A chain is read; it is read again, and what was counted of it does not count; it was read to its end. */
INLINE void chain_begins(void);
INLINE void chain_again(void);
INLINE void chain_ends(void);

/*
 * Loads the next socket of every chain before any of them is used, so that the cache misses overlap: first the pointers
 * alone, as the processor can look ahead over few instructions only, and a miss of its address translation is among
 * them; then the rest of each.
 */
static int fetch(u32 i, struct place *to)
{
	bool more = false;
	u64 sum = 0;

	for (int j = 0; j < GROUP; j++) {
		u64 at = i ? next[j] : heads[j];

		here[j] = at;
		if (!IS_END(at)) {
			next[j] = (u64)AT(hlist_nulls_node, at)->next;
			more = true;
		} else {
			next[j] = at;
		}
	}
	for (int j = 0; j < GROUP; j++)
		if (!IS_END(here[j]))
			sum += prefetch(SOCKET_OF(here[j]));
	fetched = sum;
	return !more;
}

/* Reads one chain of the group, and reads it again where the walk strayed. Nearly all succeed at once. */
static int chain(u32 j, struct place *to)
{
	u32 before = used;
	u64 number;

	/* The hash of a namespace alone (tcp_child_ehash_entries) may have fewer chains than a group. */
	if (j >= GROUP || bucket + j >= last)
		return 1;
	number = numbers[j];
	node = heads[j];
	if (IS_END(node) && node >> 1 == number) {
		whole++;
		return 0;
	}
	chain_number = number;
	chain_begins();
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		if (!IS_END(node))
			bpf_loop(LONGEST_CHAIN, visit, to, 0);
		if (no_room) {
			/* The next run reads this chain again, into an empty buffer. */
			used = before;
			chain_again();
			return 1;
		}
		if (IS_END(node) && node >> 1 == number) {
			chain_ends();
			whole++;
			return 0;
		}
		if (attempt == ATTEMPTS - 1)
			break;
		used = before;
		chain_again();
		if (bpf_probe_read_kernel(&node, sizeof(node), (void *)(table + number * sizeof(u64))))
			break;
	}
	torn++;
	whole++;
	return 0;
}

/* Most chains of a large hash are empty: skip them by the group. */
static bool all_empty(void)
{
	for (int j = 0; j < GROUP; j++)
		if (!IS_END(heads[j]))
			return false;
	return true;
}

/*
 * A run cannot be preempted. A task that wants this CPU sets TIF_NEED_RESCHED in the flags of the running task; its bit
 * depends on the kernel. All such bits were clear when the reader entered the kernel, so any change of the flags
 * means that a task waits. The run then ends between two groups of chains, as a loop with cond_resched() would yield.
 */
static bool somebody_waits(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!FIELD(task, thread_info.flags, FIELD_EXISTS))
		return visited >= SOCKETS_BLIND || bucket - began_at_bucket >= BUCKETS_BLIND;
	return task->thread_info.flags != flags_before;
}

/* Loads the heads of the next group of chains. False where they cannot be read. */
static bool take_heads(void)
{
	if (!chosen) {
		for (int j = 0; j < GROUP; j++)
			numbers[j] = bucket + j;
		return !bpf_probe_read_kernel(heads, sizeof(heads), (void *)(table + (u64)bucket * sizeof(u64)));
	}
	for (int j = 0; j < GROUP; j++) {
		u32 place = bucket + j;
		u64 *number = bpf_map_lookup_elem(&chains, &place);

		heads[j] = 1;
		if (!number || place >= last)
			continue;
		numbers[j] = *number & (buckets - 1);
		if (bpf_probe_read_kernel(&heads[j], sizeof(u64), (void *)(table + (u64)numbers[j] * sizeof(u64))))
			return false;
	}
	return true;
}

static int group(u32 i, struct place *to)
{
	u32 began_at = used;

	if (bucket >= last || visited >= SOCKETS_A_RUN || no_room || somebody_waits())
		return 1;
	if (!take_heads()) {
		torn++;
		bucket = last;
		return 1;
	}
	if (all_empty()) {
		bucket += GROUP;
		return 0;
	}
	whole = 0;
	bpf_loop(AHEAD, fetch, to, 0);
	bpf_loop(GROUP, chain, to, 0);
	if (!no_room) {
		bucket += GROUP;
		return 0;
	}
	/* Continue with the chain that did not fit. A chain that does not fit an empty buffer is skipped. */
	if (!whole && !began_at) {
		torn++;
		whole++;
	}
	bucket += whole;
	return 1;
}

/* Sets the walk to the start of the hash of the calling thread's namespace. */
INLINE void walk_begins(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct net *net = task->nsproxy->net_ns;
	struct inet_hashinfo *info = net->ipv4.tcp_death_row.hashinfo;

	whose = (u64)net;
	table = (u64)info->ehash;
	/* Buckets of another size are laid out in a way this program does not know: read none. */
	buckets = SIZE_OF(inet_ehash_bucket) == sizeof(u64) ? info->ehash_mask + 1 : 0;
	last = chosen ? chosen : buckets;
	bucket = 0;
	torn = 0;
}

/* Goes on with the walk and writes to the buffer of this index. To be run until `bucket` reaches `last`. */
INLINE void walk_on(u32 key)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct place to = {};

	visited = 0;
	no_room = 0;
	began_at_bucket = bucket;
	flags_before = FIELD(task, thread_info.flags, FIELD_EXISTS) ? task->thread_info.flags : 0;
	to.room = bpf_map_lookup_elem(&rooms, &key);
	if (to.room)
		bpf_loop(BUCKETS_A_RUN / GROUP, group, &to, 0);
}
