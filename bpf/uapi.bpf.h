/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The part of the stable kernel ABI (include/uapi/linux/bpf.h) that packet programs here use. */
#pragma once
#include "kernel.bpf.h"

#define IPPROTO_TCP 6
/* In network order, on a little-endian machine. */
#define ETH_P_IP_BE 0x0008
#define ETH_P_IPV6_BE 0xdd86
#define V4_MAPPED_BE 0xffff0000

struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
	u32 type;
	u32 protocol;
	u32 mark;
	u32 priority;
	u32 src_ip4;
	u32 src_ip6[4];
	u32 src_port;
	be16 dst_port;
	u16 : 16;
	u32 dst_ip4;
	u32 dst_ip6[4];
	u32 state;
};

struct bpf_sock_tuple {
	union {
		struct {
			be32 saddr;
			be32 daddr;
			be16 sport;
			be16 dport;
		} ipv4;
		struct {
			be32 saddr[4];
			be32 daddr[4];
			be16 sport;
			be16 dport;
		} ipv6;
	};
};

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan[3];
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	struct bpf_sock *sk;
};

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static long (*const bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)95;
static long (*const bpf_sk_release)(struct bpf_sock *sk) = (void *)86;
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *context, struct bpf_sock_tuple *tuple, u32 size, u64 netns,
						    u64 flags) = (void *)99;
