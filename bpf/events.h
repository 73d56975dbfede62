/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The records that the programs hand to user space. src/halfopen/wire/bpf_records.py declares them for numpy; that
 * declaration is checked against this one's BTF when a program is loaded. Ports and addresses of peers are in network
 * order, as in the kernel.
 */
#pragma once
#include "kernel.bpf.h"

/* One listener. */
struct pulse_record {
	u64 cookie; /* 0: not generated yet; the kernel does so when the cookie is first asked for */
	u64 oldest_us; /* of the head of the accept queue: when its first SYN-ACK was sent, CLOCK_MONOTONIC */
	u32 oldest_isn; /* of the same connection: its initial sequence number; 0: the accept queue is empty */
	s32 qlen; /* requests in the SYN queue */
	s32 young; /* of these, requests whose SYN-ACK was never retransmitted */
	u16 port;
	u8 family;
	u8 syn_retries;
	u8 defer_accept;
	u8 padding[7];
};

/*
 * One request socket, in one of three forms that the first byte tells apart: AF_INET is the short form; AF_INET |
 * CENSUS_LONG and AF_INET6 the long form; either family | CENSUS_NAMED the long form with the socket cookie.
 */
#define CENSUS_LONG 0x80
#define CENSUS_NAMED 0x40
/*
 * Flags. ACKED is inet_request_sock.acked: the last ACK came, but the request stays, because the listener waits for
 * data (TCP_DEFER_ACCEPT) or its accept queue is full. NOT_SENT: no SYN-ACK was sent yet.
 */
#define CENSUS_ACKED 1
#define CENSUS_NOT_SENT 2

struct census_short {
	u8 kind;
	u8 retransmits;
	u8 timeouts;
	u8 flags;
	u16 remote_port;
	u16 local_port; /* host order */
	u32 sent; /* when the first SYN-ACK was sent: CLOCK_MONOTONIC in units of 64 us, the low 32 bits */
	s32 expires_jiffies; /* until the timer of the SYN-ACK runs out */
	u32 chain; /* its chain in the hash of established sockets; 0 by the iterator, which does not tell */
	u32 remote;
	u32 local;
};

struct census_long {
	u8 kind;
	u8 retransmits;
	u8 timeouts;
	u8 flags;
	u16 remote_port;
	u16 local_port;
	u32 sent;
	s32 expires_jiffies;
	u32 chain;
	u32 remote[4];
	u32 local[4];
	s32 ifindex;
};

/* The long form and the socket cookie, which identifies the socket. */
struct census_named {
	u8 kind;
	u8 retransmits;
	u8 timeouts;
	u8 flags;
	u16 remote_port;
	u16 local_port;
	u32 sent;
	s32 expires_jiffies;
	u32 chain;
	u32 remote[4];
	u32 local[4];
	s32 ifindex;
	u64 cookie; /* 0: not generated yet */
};

/*
 * One socket of the hash that is neither a listener nor a request socket. Records have 64 bytes each: the addresses of
 * an IPv6 socket (SOCKET_WIDE) do not fit, and follow in a second record (socket_wide), which has SOCKET_MORE in
 * `flags`.
 */
#define SOCKET_MINI 1 /* struct inet_timewait_sock: in TIME_WAIT, or in FIN_WAIT2 after the process has closed it */
#define SOCKET_ORPHAN 2 /* no process holds it any more */
#define SOCKET_KEEPALIVE 4
#define SOCKET_WIDE 8 /* IPv6 addresses */
#define SOCKET_V6 16 /* of the family AF_INET6, v4-mapped ones included */
#define SOCKET_BOUND 32 /* bound to a device */
#define SOCKET_SENT 64 /* it sent data */
#define SOCKET_MORE 128

struct socket_record {
	u8 state;
	u8 flags;
	u8 timer; /* as inet_diag numbers them */
	u8 retransmits;
	u8 probes;
	u8 padding;
	u16 local_port; /* host order */
	u16 remote_port;
	u16 pages; /* memory that its buffers hold, in pages, as tcp_mem counts it */
	u32 remote; /* IPv4, host order */
	u32 local;
	u32 inode;
	u64 cookie; /* 0: not generated yet */
	u32 uid;
	u32 received_ms; /* since data was received */
	u32 sent_ms; /* since data was sent */
	u32 heard_ms; /* since an ACK came */
	s32 expires_ms; /* until the timer runs out */
	u32 unread; /* bytes; a FIN takes a sequence number, and so counts as one */
	u32 unacked;
	u32 bytes_received; /* the low 32 bits of tcp_sock.bytes_received */
};

struct socket_wide {
	u8 state;
	u8 flags; /* SOCKET_MORE */
	u8 padding[14];
	u32 remote[4];
	u32 local[4];
	u8 rest[16];
};

/*
 * A socket that was acted on, with its options from before, for the undo. Times are in jiffies; 0: the program set
 * none.
 */
struct acted_record {
	u64 cookie;
	u8 state;
	u8 keepalive;
	u8 probes;
	u8 padding;
	u32 idle;
	u32 interval;
	u32 user_timeout_ms;
	u32 reserved;
	u32 quiet; /* since data was received or sent, whichever was later */
};

/*
 * A selected socket: the state and unread bytes that it must still have when the program meets it, and the options to
 * set. ACT_LEAVE: do not check the condition, do not change the option.
 */
struct meant_socket {
	u32 state;
	u32 unread;
	u32 keepalive;
	u32 idle_s;
	u32 interval_s;
	u32 probes;
	u32 user_timeout_ms;
	u32 padding;
};

/* What handshakes are counted by: a listener, and whether IPv4 or IPv6 was on the wire. */
struct handshake_key {
	u32 netns;
	s32 ifindex;
	u32 address[4]; /* of our end */
	u16 port;
	u8 family; /* of the socket */
	u8 ipv4; /* on the wire: also for a v4-mapped address */
};

/*
 * The histogram of handshake times: bucket 0 holds times below 16 us; each power of two above has four equal buckets;
 * the last bucket holds times from 2^27 us (134 s) on.
 */
#define HANDSHAKE_FIRST_OCTAVE 4
#define HANDSHAKE_OCTAVES 23
#define HANDSHAKE_BUCKETS (HANDSHAKE_OCTAVES * 4 + 2)
#define HANDSHAKE_RETRANSMITS 8
/*
 * The SYN-ACK timer runs out after 1, 3, 7, 15, 31, 63 s. None of these is the edge of a bucket, so `later` counts them
 * apart.
 */
#define HANDSHAKE_TIMERS 6

struct handshake_counters {
	u64 times[HANDSHAKE_BUCKETS];
	u64 later[HANDSHAKE_TIMERS]; /* timed handshakes that took 1, 3, 7 ... s or longer */
	u64 by_retransmits[HANDSHAKE_RETRANSMITS]; /* by retransmissions of the SYN-ACK; the last: that many or more */
	u64 untimed; /* finished by a SYN cookie, for which the kernel kept no state: when they began is not known */
	u64 approximate; /* timed handshakes of which only a lower bound of the time is known */
	u64 sum_us;
	u64 max_us;
	u64 synack_retransmits;
	u64 arrivals;
	u64 given_up;
};

/* What a CPU keeps for itself between events. */
struct handshake_cpu {
	u64 from_cookie; /* mark_of() the connection that is being made from a SYN cookie on this CPU; 0: none */
	u64 unfit; /* events that were not counted, because the map was full */
};

/* Packets for a listener and its request sockets, and handshakes that finished there. */
struct arrivals_counters {
	u64 syns;
	u64 repeats; /* of these, SYNs of connections that were half-open already */
	u64 acks; /* packets without SYN or RST: last ACKs, and data that came before the connection was made */
	u64 resets;
	u64 finished;
	u64 late; /* of these, handshakes whose SYN-ACK was retransmitted */
	u64 no_timestamps; /* of these, without TCP timestamps: a SYN cookie would lose their window scaling and SACK */
};

/* A source of connections to one port: an IPv4 address, or the first 64 bits of an IPv6 address. */
struct source_key {
	u32 netns;
	u16 port;
	u8 ipv4;
	u8 padding;
	u32 source[2];
};

struct source_counters {
	u32 syns;
	u32 repeats;
	u32 acks;
	u32 resets;
	u32 finished;
	u32 late;
	u32 timed; /* handshakes in sum_us */
	u32 ifindex; /* the device that its last SYN came in by */
	u64 sum_us; /* from the SYN-ACK to its ACK */
	u32 local[4]; /* the destination of its last SYN; IPv4 as v4-mapped */
};
