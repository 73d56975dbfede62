/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The guard's settings, counters and maps, as halfopen writes and reads them (change/guard.py), and kernel types it uses. */
#pragma once
#include "compat.bpf.h"
#include "uapi.bpf.h"

#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LPM_TRIE 11
#define BPF_F_NO_PREALLOC 1

#define GUARD_SLOTS 4

/* Off; turns ACKs with our cookie into connections; answers SYNs as well. */
enum guard_mode { GUARD_OFF, GUARD_ACKS, GUARD_ANSWERS };

/* By which way clients are let in: a cookie of ours, one of the kernel's, the second SYN, or ours with a front. */
enum guard_rung { RUNG_TC, RUNG_GEN_COOKIE, RUNG_FIRST_SYN, RUNG_XDP };

/* Why a SYN was left to the kernel. */
enum guard_passed {
	GUARD_BELOW, /* the SYN queue has room */
	GUARD_STOPPED, /* the guard does not answer (any more) */
	GUARD_NOT_LISTENING, /* no listener: a connection or one in TIME_WAIT has these addresses and ports, or nothing has */
	GUARD_OTHER_LISTENER, /* the listener is not one that is guarded */
	GUARD_FOREIGN, /* the address is not one of this host, or the source cannot be one */
	GUARD_MPTCP,
	GUARD_ACCEPT_FULL, /* the accept queue is full: the kernel drops the SYN and counts that */
	GUARD_SIGNED, /* TCP-MD5 or TCP-AO */
	GUARD_BROKEN, /* the header or its options cannot be read */
	GUARD_FAILED, /* the answer could not be written */
	GUARD_SECOND, /* RUNG_FIRST_SYN: the client sent it again, as only those do who are there */
	GUARD_REASONS,
};

struct guard_settings {
	/* When the guard ceases to answer by itself (CLOCK_MONOTONIC, ns): halfopen may have been stopped. */
	u64 until;
	/* When it was armed, likewise, and the namespace it is in. */
	u64 began;
	u64 netns;
	/* By the number of the slot of time, modulo GUARD_SLOTS: two are valid at a time. */
	u64 secrets[GUARD_SLOTS][2];
	u64 seed;
	/* Written by the program: cookies are out until then, so ACKs are worth a look. */
	u64 engaged_until;
	/* Counts the changes of this host's addresses. From 1 on. */
	u64 local_changes;
	u32 mode;
	/* Of the SYN queue, in 1/256: the guard answers where it is as full as that. */
	u32 share;
	/* SYN-ACKs a second to one /24 or /48 at most. */
	u32 most_to_prefix;
	/* The four sizes of segments that a cookie can tell, ascending, for IPv4 and IPv6. */
	u16 mss[2][4];
	/* The most that the routes let us announce. */
	u16 most_mss[2];
	u8 timestamps;
	u8 window_scaling;
	u8 sack;
	u8 ecn;
	u8 wscale;
	u8 hops[2];
	/* A policy of halfopen watch armed it. */
	u8 by_policy;
	/* What the rungs in front announce at most as the size of a segment, for IPv4 and IPv6. */
	u16 front_mss[2];
	/* enum guard_rung */
	u8 rung;
	/* tcp_timestamps is 2: the kernel reads what its cookie says of options from the very timestamp that was sent. */
	u8 plain_timestamps;
	u8 padding[2];
};

/* Of one CPU. */
struct guard_counts {
	u64 syns;
	u64 answered;
	u64 accepted;
	/* A second packet of a connection that the first has just made. */
	u64 batched;
	/* Cookies that came once more, later than that: the first time nothing came of it. */
	u64 again;
	/* ACKs that fit no connection and no cookie; one in GUARD_ONE_IN is looked at. */
	u64 bad;
	/* ACKs dropped because the accept queue is full, as the kernel does. */
	u64 accept_full;
	/* ACKs that the kernel did not take. */
	u64 refused;
	/* SYNs dropped because their prefix got as many answers as it may. */
	u64 capped;
	/* SYNs and ACKs with IP options, fragments, VLAN tags: of any port. */
	u64 unusual;
	/* RUNG_XDP: SYNs of those answered that the front answered. */
	u64 fronted;
	/* RUNG_FIRST_SYN: SYNs dropped because they were the first of their connection. */
	u64 held;
	u64 passed[GUARD_REASONS];
	/* Answers that were timed, and the time they took. */
	u64 timed;
	u64 timed_ns;
	/* Not for reading: ACKs not looked at; connections made within a moment, for which listener, what it held before. */
	u64 unlooked;
	u64 burst_began;
	u64 burst_of;
	u64 burst_held;
	u64 burst;
	/* Likewise: the address of this host that was met last, and the changes that it is known since. */
	u64 local[2];
	u64 local_changes;
};

/* A listener by its address (IPv4 is v4-mapped; the wildcards are zeros behind that) and its port. */
struct guard_listener {
	u64 address[2];
	u32 port;
	u32 padding;
};

struct guard_listener_counts {
	u64 syns;
	u64 answered;
	u64 accepted;
};

RECORD(guard_settings);
RECORD(guard_counts);
RECORD(guard_listener);
RECORD(guard_listener_counts);

/* In a section of its own: other processes that look at a guard read it there. */
struct guard_settings settings SEC(".data") = {};

/* The arguments of bpf_sk_assign_tcp_reqsk(). */
struct bpf_tcp_req_attrs {
	u32 rcv_tsval;
	u32 rcv_tsecr;
	u16 mss;
	u8 rcv_wscale;
	u8 snd_wscale;
	u8 ecn_ok;
	u8 wscale_ok;
	u8 sack_ok;
	u8 tstamp_ok;
	u8 usec_ts_ok;
	u8 reserved[3];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* More members of types that kernel.bpf.h has: what is behind ___ does not count. */
struct sock___guard {
	struct sock_common __sk_common;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	int sk_rcvbuf;
};

struct inet_sock___guard {
	struct sock___guard sk;
};

struct inet_connection_sock___guard {
	struct inet_sock___guard icsk_inet;
	struct request_sock_queue icsk_accept_queue;
};

struct tcp_options_received___guard {
	u16 user_mss;
};

struct tcp_sock___guard {
	struct inet_connection_sock___guard inet_conn;
	struct tcp_options_received___guard rx_opt;
	bool is_mptcp;
};

struct net_device {
	u32 mtu;
};

struct sk_buff {
	struct net_device *dev;
	u8 ip_summed : 2;
};

#pragma clang attribute pop

static long (*const bpf_skb_store_bytes)(void *skb, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const bpf_skb_change_tail)(void *skb, u32 len, u64 flags) = (void *)38;
static long (*const bpf_skb_pull_data)(void *skb, u32 len) = (void *)39;

/*
 * Since commit e472f88891ab ("bpf: tcp: Support arbitrary SYN Cookie.") (in v6.9): the packet becomes the last ACK of a
 * handshake with these options. At tc ingress, in the namespace of the listener.
 */
extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs,
				   int attrs__sz) __attribute__((section(".ksyms")));
/* Since commit fd264ca02094 ("bpf: Add a kfunc to type cast from bpf uapi ctx to kernel ctx") (in v6.2). */
extern void *bpf_cast_to_kern_ctx(void *context) __attribute__((section(".ksyms")));
