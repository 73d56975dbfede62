/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The few kernel types and fields these programs use, written by hand: every access is relocated against the running
 * kernel's BTF when the program is loaded, so only names and types must fit, never offsets. No kernel headers needed.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;
typedef u16 be16;
typedef u32 be32;

enum { false, true };
typedef _Bool bool;

/* Kinds of maps and their flags (include/uapi/linux/bpf.h). */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_F_MMAPABLE 1024

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* Keeps the layout of a record in the BTF of the object, against which the reader checks its own. */
#define RECORD(name) const struct name *__record_##name __attribute__((unused))

#define AF_INET 2
#define AF_INET6 10
#define TCP_ESTABLISHED 1
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT2 5
#define TCP_TIME_WAIT 6
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	u32 inum;
};

struct inet_ehash_bucket {
	void *chain;
};

struct inet_hashinfo {
	void *ehash;
	u32 ehash_mask;
};

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
};

struct netns_ipv4 {
	struct inet_timewait_death_row tcp_death_row;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

struct nsproxy {
	struct net *net_ns;
};

/*
 * A member of task_struct only with CONFIG_THREAD_INFO_IN_TASK (x86, arm64, powerpc, riscv, s390 ...): test
 * FIELD_EXISTS first.
 */
struct thread_info {
	unsigned long flags;
};

struct task_struct {
	struct thread_info thread_info;
	struct nsproxy *nsproxy;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct hlist_nulls_node {
	struct hlist_nulls_node *next;
};

struct sock_common {
	be32 skc_daddr;
	be32 skc_rcv_saddr;
	be16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	volatile u8 skc_state;
	int skc_bound_dev_if;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	struct hlist_nulls_node skc_nulls_node;
	u32 skc_hash;
	refcount_t skc_refcnt;
};

struct timer_list {
	unsigned long expires;
};

typedef struct {
	u32 val;
} kuid_t;

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_forward_alloc;
	int sk_wmem_queued;
	struct timer_list sk_timer;
	struct timer_list tcp_retransmit_timer;
	struct socket *sk_socket;
	unsigned long sk_ino;
	kuid_t sk_uid;
	u16 sk_protocol;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
	volatile u8 tw_substate;
	struct timer_list tw_timer;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
};

struct inet_sock {
	struct sock sk;
};

struct request_sock;

struct request_sock_queue {
	u8 rskq_defer_accept;
	struct request_sock *rskq_accept_head;
	atomic_t qlen;
	atomic_t young;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	struct timer_list icsk_retransmit_timer;
	struct timer_list icsk_keepalive_timer;
	u8 icsk_retransmits;
	u8 icsk_pending;
	u8 icsk_syn_retries;
	u8 icsk_probes_out;
	u32 icsk_user_timeout;
	struct {
		u32 lrcvtime;
	} icsk_ack;
};

struct tcp_options_received {
	u32 rcv_tsecr;
	u16 tstamp_ok : 1, wscale_ok : 1, sack_ok : 3, snd_wscale : 4;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 srtt_us;
	u32 total_retrans;
	u32 total_rto_time;
	u32 copied_seq;
	u32 rcv_nxt;
	u32 snd_una;
	u32 data_segs_out;
	u32 write_seq;
	u32 lsndtime;
	u32 rcv_tstamp;
	u64 bytes_received;
	u32 keepalive_time;
	u32 keepalive_intvl;
	u8 keepalive_probes;
	struct tcp_options_received rx_opt;
};

struct request_sock {
	struct sock_common __req_common;
	u8 num_retrans;
	u8 num_timeout : 7;
	struct timer_list rsk_timer;
	struct sock *rsk_listener;
};

struct inet_request_sock {
	struct request_sock req;
	u16 acked : 1;
};

struct tcp_request_sock {
	struct inet_request_sock req;
	u64 snt_synack;
	u32 snt_isn;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	u32 uid;
};

#pragma clang attribute pop

/* Helpers, by the numbers of include/uapi/linux/bpf.h. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
/* Since v5.11. Up to a tick behind bpf_ktime_get_ns(), and five times as fast. */
static u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*const bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static u64 (*const bpf_get_socket_cookie)(void *sk) = (void *)46;
static long (*const bpf_setsockopt)(void *sk, int level, int name, void *value, int size) = (void *)49;
static struct tcp_timewait_sock *(*const bpf_skc_to_tcp_timewait_sock)(void *sk) = (void *)138;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static u64 (*const bpf_jiffies64)(void) = (void *)118;
static long (*const bpf_seq_write)(struct seq_file *m, const void *data, u32 len) = (void *)127;
static long (*const bpf_loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static struct tcp_request_sock *(*const bpf_skc_to_tcp_request_sock)(void *sk) = (void *)139;

/*
 * Since commit a35b9af4ec2c ("bpf: Add a kfunc for generic type cast") (in v6.2). The verifier makes loads through this
 * pointer probe reads: an address that is not mapped reads as 0 instead of faulting.
 */
extern void *bpf_rdonly_cast(const void *address, u32 type) __attribute__((section(".ksyms")));
/*
 * Since commit 4ddbcb886268 ("bpf: Add bpf_sock_destroy kfunc") (in v6.5). Only for iterators that hold the socket's
 * lock.
 */
extern int bpf_sock_destroy(struct sock_common *sock) __attribute__((section(".ksyms")));
