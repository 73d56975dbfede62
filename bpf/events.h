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
	u64 cookie; /* 0: none given out yet */
	u64 oldest_us; /* when the first SYN-ACK of the connection next in the accept queue was sent, CLOCK_MONOTONIC */
	u32 oldest_isn; /* its initial sequence number; 0: the accept queue is empty */
	s32 qlen;
	s32 young;
	u16 port;
	u8 family;
	u8 syn_retries;
	u8 defer_accept;
	u8 padding[7];
};

/*
 * One request socket. The first byte tells the form: AF_INET for the short one; AF_INET or AF_INET6 with CENSUS_NAMED for
 * the one that names the socket; AF_INET6, or AF_INET with CENSUS_LONG, for the long one.
 */
#define CENSUS_LONG 0x80
#define CENSUS_NAMED 0x40
/* Flags: the client has answered and its data is awaited (TCP_DEFER_ACCEPT); no SYN-ACK was sent yet. */
#define CENSUS_ACKED 1
#define CENSUS_NOT_SENT 2

struct census_short {
	u8 kind;
	u8 retransmits;
	u8 timeouts;
	u8 flags;
	u16 remote_port;
	u16 local_port; /* host order */
	u32 sent; /* when the first SYN-ACK was, CLOCK_MONOTONIC in units of 64 us */
	s32 expires_jiffies;
	u32 chain; /* of the hash of connections; 0 where the kernel's iterator handed it out */
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
	u64 cookie; /* 0: none was given out yet */
};

/*
 * One socket of the hash that is neither a listener nor a request socket. An IPv6 one (SOCKET_WIDE) is followed by a
 * record that begins with SOCKET_MORE in `flags`'s place and holds both addresses from its byte 16 on.
 */
#define SOCKET_MINI 1 /* a minisocket: TIME_WAIT, or FIN_WAIT2 that nobody holds */
#define SOCKET_ORPHAN 2 /* no process holds it any more */
#define SOCKET_KEEPALIVE 4
#define SOCKET_WIDE 8 /* IPv6 addresses */
#define SOCKET_V6 16 /* of the family AF_INET6, v4-mapped ones included */
#define SOCKET_BOUND 32 /* bound to a device */
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
	u16 pages; /* of tcp_mem that it holds */
	u32 remote; /* IPv4, host order */
	u32 local;
	u32 inode;
	u64 cookie; /* 0: none given out yet */
	u32 uid;
	u32 received_ms; /* since data came, since data was sent, since an ACK came */
	u32 sent_ms;
	u32 heard_ms;
	s32 expires_ms; /* until the timer runs out */
	u32 unread; /* bytes, the FIN counts as one */
	u32 unacked;
	u32 bytes_received; /* its low half */
};

struct socket_wide {
	u8 state;
	u8 flags; /* SOCKET_MORE */
	u8 padding[14];
	u32 remote[4];
	u32 local[4];
	u8 rest[16];
};

/* A socket that an action was tried on, with what its options were before. Times are in jiffies; 0: not set. */
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
	u32 quiet; /* since data came or was sent, the shorter */
};

/* A socket that is meant: what must still hold of it, and which options to set; ACT_LEAVE: none. */
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

/* Whose handshakes are counted together. */
struct handshake_key {
	u32 netns;
	s32 ifindex;
	u32 address[4]; /* of our end */
	u16 port;
	u8 family; /* of the socket */
	u8 ipv4; /* on the wire: also for a v4-mapped address */
};

/*
 * Handshake times: bucket 0 is below 16 us, then four equal parts of each octave, the last is from 2^27 us (134 s) on.
 */
#define HANDSHAKE_FIRST_OCTAVE 4
#define HANDSHAKE_OCTAVES 23
#define HANDSHAKE_BUCKETS (HANDSHAKE_OCTAVES * 4 + 2)
#define HANDSHAKE_RETRANSMITS 8
/* Where the timer of the SYN-ACK runs out: 1, 3, 7, 15, 31, 63 s. None of these is the edge of a bucket. */
#define HANDSHAKE_TIMERS 6

struct handshake_counters {
	u64 times[HANDSHAKE_BUCKETS];
	u64 later[HANDSHAKE_TIMERS]; /* of those timed: took so long, or longer */
	u64 by_retransmits[HANDSHAKE_RETRANSMITS]; /* finished after so many more SYN-ACKs; the last: or more */
	u64 untimed; /* finished by a SYN cookie: nobody knows when they began */
	u64 approximate; /* of those timed: by the least it can have been */
	u64 sum_us;
	u64 max_us;
	u64 synack_retransmits;
	u64 arrivals;
	u64 given_up;
};

/* What a CPU keeps for itself between events. */
struct handshake_cpu {
	u64 from_cookie; /* the connection it is just making from a SYN cookie */
	u64 unfit; /* events whose key did not fit the map */
};

/* Packets for a listener and its request sockets, and the handshakes of it that finished. */
struct arrivals_counters {
	u64 syns;
	u64 repeats; /* of them: of a connection that is half-open already */
	u64 acks; /* any other packet: a last ACK, or data behind it */
	u64 resets;
	u64 finished;
	u64 late; /* of them: after a SYN-ACK was sent again */
	u64 no_timestamps; /* of them: without TCP timestamps, so that a SYN cookie keeps neither window scaling nor SACK */
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
	u32 ifindex; /* the device by which its last SYN came in */
	u64 sum_us; /* from the SYN-ACK to its ACK */
	u32 local[4]; /* the address that its last SYN was sent to, as an IPv6 one */
};
