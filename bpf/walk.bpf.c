// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Every request socket of a namespace, as census.bpf.c writes them, without the kernel's own walk: the hash of connected
 * sockets is gone through here, under RCU alone. No lock is taken and no socket is held, so nobody who handles packets
 * waits for it, and the memory of many sockets is asked for at once: a million are read in half the time of a dump.
 *
 * What makes that right are the rules the kernel's own lookup lives by (__inet_lookup_established(),
 * Documentation/RCU/rculist_nulls.rst). A socket's memory stays a socket's memory until the RCU grace period ends, but
 * the socket may be freed and its memory made another socket, in another chain. Each chain ends in its own number: who
 * arrives at another number has strayed, and begins that chain anew. The count of references is 0 in whatever is not a
 * socket in the hash (yet, or any more).
 *
 * Each run goes through a part of the hash, ends when somebody else wants the CPU, and remembers no socket after it.
 */
#include "request.bpf.h"

/* What fits one run; the reader has as many rooms as it works on at a time. */
#define ROOM (512 * 1024)
#define ROOMS 3
/* No run is longer, about 100 us: then the reader yields. It ends sooner where somebody more urgent wants the CPU. */
#define SOCKETS_A_RUN 512
#define BUCKETS_A_RUN (16 * 1024)
/* Nor this where that does not show. */
#define SOCKETS_BLIND 256
#define BUCKETS_BLIND 4096
/* Chains that are gone through side by side. */
#define GROUP 16
/* Further along its chain a socket is read without having been asked for before. */
#define AHEAD 5
#define LONGEST_CHAIN 65536
/* Where only some chains are meant: as many as this. */
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

/* In: the chains to go through where not all are meant, their numbers by place. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*map_flags)[BPF_F_MMAPABLE];
	int (*max_entries)[CHOSEN];
	u32 *key;
	u64 *value;
} chains SEC(".maps");

/* In: how many chains are chosen; 0 for all. */
u32 chosen;
/* In: do not write, only find the `longest` chain: how many request sockets it holds. */
u32 measuring;
u32 longest;
/*
 * Where the hash is, how many chains it has, whose sockets are meant, and how far the walk has come: `begin` sets them,
 * `walk` goes on from chain `bucket` to chain `last`, by number or, where some are chosen, by place.
 */
u64 table;
u64 whose;
u32 buckets;
u32 bucket;
u32 last;
/* In and out: how much of the room is written to; the reader begins a new one with 0 when there is `no_room` left. */
u32 used;
u32 no_room;
/* Out: chains that could not be read whole. */
u32 torn;

static u64 heads[GROUP];
static u64 next[GROUP];
static u32 numbers[GROUP];
static u64 node;
static u32 chain_number;
static u32 found;
static u32 whole;
static u32 visited;
static u32 began_at_bucket;
static u64 flags_before;
/* Nobody reads it: what is added here was fetched. */
u64 fetched;

struct place {
	u8 *room;
};

#define AT(type, address) ((struct type *)bpf_rdonly_cast((void *)(address), __builtin_btf_type_id(*(struct type *)0, 1)))
#define SIZE_OF(type) __builtin_preserve_type_info(*(struct type *)0, 1)
#define IS_END(pointer) ((pointer) & 1)
#define SOCKET_OF(pointer) ((pointer) - FIELD((struct sock_common *)0, skc_nulls_node, FIELD_BYTE_OFFSET))

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
	/* Freed meanwhile, and made another one? Then what was read may be of both. */
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

/*
 * Asks the memory for the next sockets of all chains before any of them is looked at: then the waits are one.
 */
static int fetch(u32 i, struct place *to)
{
	bool more = false;

	for (int j = 0; j < GROUP; j++) {
		u64 at = i ? next[j] : heads[j];

		if (!IS_END(at)) {
			fetched += AT(tcp_request_sock, SOCKET_OF(at))->snt_synack;
			at = (u64)AT(hlist_nulls_node, at)->next;
			more = true;
		}
		next[j] = at;
	}
	return !more;
}

/* Goes through one chain of the group; begins it anew where it strayed. Nearly all chains are right at once. */
static int chain(u32 j, struct place *to)
{
	u32 before = used, full_before = full;
	u64 number;

	/* A namespace's own hash (tcp_child_ehash_entries) may have fewer chains than a group. */
	if (j >= GROUP || bucket + j >= last)
		return 1;
	number = numbers[j];
	node = heads[j];
	chain_number = number;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		found = 0;
		if (!IS_END(node))
			bpf_loop(LONGEST_CHAIN, visit, to, 0);
		if (no_room) {
			/* This chain again, in an empty room. */
			used = before;
			full = full_before;
			return 1;
		}
		if (IS_END(node) && node >> 1 == number) {
			if (found > longest)
				longest = found;
			whole++;
			return 0;
		}
		if (attempt == ATTEMPTS - 1)
			break;
		used = before;
		full = full_before;
		if (bpf_probe_read_kernel(&node, sizeof(node), (void *)(table + number * sizeof(u64))))
			break;
	}
	torn++;
	whole++;
	return 0;
}

/* Most chains of a large hash have nobody in them, and there is nothing more to ask of those. */
static bool all_empty(void)
{
	for (int j = 0; j < GROUP; j++)
		if (!IS_END(heads[j]))
			return false;
	return true;
}

/*
 * Nothing else is scheduled on this CPU while a run lasts. Whoever is to be scheduled sets a flag of the running task
 * (TIF_NEED_RESCHED; which bit that is depends on the kernel). All were clear when the task came from user space, so
 * any change says that somebody waits: as cond_resched() does, between one chain and the next.
 */
static bool somebody_waits(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!FIELD(task, thread_info.flags, FIELD_EXISTS))
		return visited >= SOCKETS_BLIND || bucket - began_at_bucket >= BUCKETS_BLIND;
	return task->thread_info.flags != flags_before;
}

/* The heads of the next chains. False where they cannot be read. */
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
	/* On with the chain that did not fit; one that does not fit an empty room is passed over. */
	if (!whole && !began_at) {
		torn++;
		whole++;
	}
	bucket += whole;
	return 1;
}

/* Run once for a reading, by a thread of the namespace that is meant. */
SEC("raw_tp/sys_enter")
int begin(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct net *net = task->nsproxy->net_ns;
	struct inet_hashinfo *info = net->ipv4.tcp_death_row.hashinfo;

	whose = (u64)net;
	table = (u64)info->ehash;
	/* A hash that is none of this kind has no buckets for us. */
	buckets = SIZE_OF(inet_ehash_bucket) == sizeof(u64) ? info->ehash_mask + 1 : 0;
	last = chosen ? chosen : buckets;
	bucket = 0;
	longest = 0;
	full = 0;
	torn = 0;
	began = bpf_ktime_get_ns() / 1000;
	return 0;
}

/* Goes on writing to the room named by its first argument; to be run until `bucket` has come to `last`. */
SEC("raw_tp/sys_enter")
int walk(u64 *arguments)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 key = arguments[0];
	struct place to = {};

	visited = 0;
	no_room = 0;
	began_at_bucket = bucket;
	flags_before = FIELD(task, thread_info.flags, FIELD_EXISTS) ? task->thread_info.flags : 0;
	to.room = bpf_map_lookup_elem(&rooms, &key);
	if (to.room)
		bpf_loop(BUCKETS_A_RUN / GROUP, group, &to, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
