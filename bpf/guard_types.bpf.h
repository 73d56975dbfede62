/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The guard's settings and counters, as change/guard.py writes and reads them, and the kernel types that the guard
 * uses.
 */
#pragma once
#include "compat.bpf.h"
#include "uapi.bpf.h"

#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LPM_TRIE 11
#define BPF_F_NO_PREALLOC 1

#define GUARD_SLOTS 4

/* The guard does nothing; only makes connections of ACKs with its cookie; answers SYNs as well. */
enum guard_mode { GUARD_OFF, GUARD_ACKS, GUARD_ANSWERS };

/*
 * How clients get in: by the guard's cookie, by the kernel's, by their second SYN, by the guard's with a front in the
 * driver.
 */
enum guard_rung { RUNG_TC, RUNG_GEN_COOKIE, RUNG_FIRST_SYN, RUNG_XDP };

/* Why a SYN was left to the kernel. */
enum guard_passed {
	GUARD_BELOW, /* the SYN queue is not yet as full as `share` */
	GUARD_STOPPED, /* the guard does not answer (any more) */
	GUARD_NOT_LISTENING, /* a connection, also one in TIME_WAIT, has these addresses and ports; or no socket has */
	GUARD_OTHER_LISTENER, /* the listener is not one that is guarded */
	GUARD_FOREIGN, /* the address is not one of this host, or the source cannot be one */
	GUARD_MPTCP,
	GUARD_ACCEPT_FULL, /* the accept queue is full: the kernel drops the SYN and counts that */
	GUARD_SIGNED, /* TCP-MD5 or TCP-AO */
	GUARD_BROKEN, /* the header or its options cannot be read */
	GUARD_FAILED, /* the answer could not be written */
	GUARD_SECOND, /* RUNG_FIRST_SYN: the client sent its SYN again, so it gets through */
	GUARD_REASONS,
};

struct guard_settings {
	/*
	 * The guard ceases to answer at this time (CLOCK_MONOTONIC, ns) unless halfopen moves it: halfopen may have
	 * been stopped.
	 */
	u64 until;
	/* When the guard was armed (CLOCK_MONOTONIC, ns), and the inode of its network namespace. */
	u64 began;
	u64 netns;
	/*
	 * The secret of each slot of time, at its number modulo GUARD_SLOTS; those of this slot and of the last one are
	 * in use.
	 */
	u64 secrets[GUARD_SLOTS][2];
	u64 seed;
	/* Written by the program: until then cookies may come back. Later, no ACK needs to be checked for one. */
	u64 engaged_until;
	/*
	 * How often this host's addresses changed, from 1 on: a CPU's last known address is valid for one value of
	 * this.
	 */
	u64 local_changes;
	u32 mode;
	/* The guard answers while the SYN queue is as full as this, in 1/256 of its limit. */
	u32 share;
	/* SYN-ACKs a second to one /24 or /48 at most. */
	u32 most_to_prefix;
	/* The four values of MSS that the two bits of a cookie stand for, ascending, for IPv4 and IPv6. */
	u16 mss[2][4];
	/* The largest MSS that the routes allow to announce (advmss), for IPv4 and IPv6. */
	u16 most_mss[2];
	u8 timestamps;
	u8 window_scaling;
	u8 sack;
	u8 ecn;
	u8 wscale;
	u8 hops[2];
	/* A policy of halfopen watch armed it. */
	u8 by_policy;
	/* The largest MSS that the rungs in front of the kernel (XDP) announce, for IPv4 and IPv6. */
	u16 front_mss[2];
	/* enum guard_rung */
	u8 rung;
	/*
	 * tcp_timestamps is 2: the kernel adds no secret offset to timestamps, so one made by a program can carry
	 * options.
	 */
	u8 plain_timestamps;
	u8 padding[2];
};

/* The counters of one CPU. */
struct guard_counts {
	u64 syns;
	u64 answered;
	u64 accepted;
	/* Second packets of a connection in one batch: the first has just made it. */
	u64 batched;
	/* Cookies that came again after that batch: no connection was made of them the first time. */
	u64 again;
	/* ACKs that belong to no connection and carry no cookie: an estimate, as one in GUARD_ONE_IN is looked up. */
	u64 bad;
	/* ACKs dropped because the accept queue was full, as the kernel would drop them. */
	u64 accept_full;
	/* ACKs for which bpf_sk_assign_tcp_reqsk() failed. */
	u64 refused;
	/* SYNs dropped because their prefix had its SYN-ACKs of this second (most_to_prefix). */
	u64 capped;
	/* Packets with IP options, fragments and VLAN-tagged packets, of any port: left to the kernel unread. */
	u64 unusual;
	/* RUNG_XDP: how many of `answered` the front in the driver answered. */
	u64 fronted;
	/* RUNG_FIRST_SYN: SYNs dropped because they were the first of their connection. */
	u64 held;
	u64 passed[GUARD_REASONS];
	/* Answers that were timed, and the time they took. */
	u64 timed;
	u64 timed_ns;
	/* The program's own: counts ACKs, to look up one in GUARD_ONE_IN. */
	u64 unlooked;
	/*
	 * Also its own: when a burst of new connections began, the listener's cookie and accept queue then, and their
	 * number.
	 */
	u64 burst_began;
	u64 burst_of;
	u64 burst_held;
	u64 burst;
	/*
	 * Also its own: the destination of the last packet for this host, and the local_changes for which it was
	 * checked.
	 */
	u64 local[2];
	u64 local_changes;
};

/* A listener by its address and port. IPv4 is v4-mapped: the wildcard is ::ffff:0.0.0.0. */
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

/* In .data, not in .bss: other processes find it by the name of that map when they show a guard. */
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

/* More members of types in kernel.bpf.h: libbpf ignores ___ and what follows when it looks for the kernel's type. */
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
 * Since commit e472f88891ab ("bpf: tcp: Support arbitrary SYN Cookie.") (in v6.9): gives the packet a request socket
 * with these options, so that TCP takes it for the last ACK of a handshake. For programs at tc ingress, in the
 * namespace of the listener.
 */
extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs,
				   int attrs__sz) __attribute__((section(".ksyms")));
/* Since commit fd264ca02094 ("bpf: Add a kfunc to type cast from bpf uapi ctx to kernel ctx") (in v6.2). */
extern void *bpf_cast_to_kern_ctx(void *context) __attribute__((section(".ksyms")));
