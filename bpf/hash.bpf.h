/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A walk through the kernel's hash of established sockets as an RCU reader. It takes no lock and holds no socket, so
 * packet processing never waits for it, and it prefetches the sockets of many chains at once: a million are read in
 * half the time of a dump.
 *
 * The walk follows the rules of the kernel's own lookup (__inet_lookup_established(),
 * Documentation/RCU/rculist_nulls.rst). Until the RCU grace period ends, the memory of a socket stays a socket, but it
 * may be freed and reused for another socket, in another chain. The end of each chain is not NULL but the number of the
 * chain, shifted left and marked by its lowest bit (a "nulls" pointer): a walk that ends at another number has strayed
 * into another chain with a reused socket, and reads its own again. A reference count of 0 marks a socket that was
 * taken out of the hash, or is not completely in it yet: the walk passes over it.
 *
 * Each run reads a part of the hash, ends when another task wants the CPU, and keeps no pointer to a socket afterwards.
 *
 * The program that includes this file defines what to do with a socket: visit() and the other functions declared below.
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
/* Chains whose sockets are prefetched together, so that their cache misses overlap. */
#define GROUP 16
/* Sockets deeper in a chain than this are not prefetched. */
#define AHEAD 5
/* bpf_loop() needs a bound; a chain with more sockets counts as torn. */
#define LONGEST_CHAIN 65536
/* The most chains that can be chosen: a release of few connections walks only the chains that these are in. */
#define CHOSEN 16384
/* How often a chain is read until the walk has not strayed. */
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

/* In: the numbers of the chosen chains. */
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
 * The address of the hash, the namespace to read (its struct net), the number of chains, the position of the walk.
 * `begin` sets them; each run of `walk` continues at `bucket`, up to `last`. Both are chain numbers, or, where chains
 * are chosen, indices of `chains`.
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

/* Of each chain of the group: its first socket, the socket to prefetch and the one after it, its number. */
static u64 heads[GROUP];
static u64 here[GROUP];
static u64 next[GROUP];
static u32 numbers[GROUP];
/* The socket that visit() takes next, and the number of the chain that it should be in. */
static u64 node;
static u32 chain_number;
/* Chains of the group that are done; sockets visited in this run; where the run began, and the task's flags then. */
static u32 whole;
static u32 visited;
static u32 began_at_bucket;
static u64 flags_before;
/* Sink that keeps the compiler from dropping the prefetching loads. */
u64 fetched;

struct place {
	u8 *room;
};

/* A pointer whose loads cannot fault, with the type's id in the BTF of the running kernel. */
#define AT(type, address) ((struct type *)bpf_rdonly_cast((void *)(address), __builtin_btf_type_id(*(struct type *)0, 1)))
#define SIZE_OF(type) __builtin_preserve_type_info(*(struct type *)0, 1)
/* A nulls pointer: the end of a chain. */
#define IS_END(pointer) ((pointer) & 1)
#define SOCKET_OF(pointer) ((pointer) - FIELD((struct sock_common *)0, skc_nulls_node, FIELD_BYTE_OFFSET))

/* Takes the socket at `node`, and moves `node` on to the next one. Returns 1 at the end of the chain. */
static int visit(u32 i, struct place *to);
/*
 * Loads the cache lines that visit() will read of the socket at this address; returns a sum, so that the loads are
 * kept.
 */
INLINE u64 prefetch(u64 socket);
/* Called before a chain is read, so that the program can save its counters. */
INLINE void chain_begins(void);
/* The chain will be read again: restore the counters. */
INLINE void chain_again(void);
/* The chain was read to its end. */
INLINE void chain_ends(void);

/*
 * Loads the next socket of every chain of the group before any is used, so that the processor waits for many cache
 * misses at once. It does so in two passes: the pointers to the next sockets first, because that loop is short enough
 * for the processor to run ahead over all chains while each load also misses the TLB; then the fields that visit()
 * reads.
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

/* Reads one chain of the group, and again if the walk strayed, which is rare. */
static int chain(u32 j, struct place *to)
{
	u32 before = used;
	u64 number;

	/* A namespace with a hash of its own (tcp_child_ehash_entries) may have fewer chains than a group. */
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
 * A run cannot be preempted, so it looks itself whether it has to yield, as a loop with cond_resched() does. When another
 * task wants this CPU, the kernel sets a flag of the running task: TIF_NEED_RESCHED and the like, whose bits differ
 * between kernels. All of them were clear when the reader entered the kernel for this run, so any change of the flags
 * means that a task waits.
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

		heads[j] = 1; /* nothing to prefetch here */
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
	/* Were buckets larger than a pointer, their layout would be unknown: read nothing then. */
	buckets = SIZE_OF(inet_ehash_bucket) == sizeof(u64) ? info->ehash_mask + 1 : 0;
	last = chosen ? chosen : buckets;
	bucket = 0;
	torn = 0;
}

/* Continues the walk, writing to the buffer with this index. The reader runs it until `bucket` reaches `last`. */
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
