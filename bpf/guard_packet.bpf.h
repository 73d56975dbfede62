/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A TCP packet at tc ingress, as the guard reads it, and the cookie in it. */
#pragma once
#include "guard_types.bpf.h"
#include "siphash.bpf.h"
#include "tcp_options.bpf.h"

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define FRAGMENT_MASK_BE 0xff3f /* more fragments, and the offset of this one */

#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80

/* A cookie is valid in its slot of 2^36 ns (69 s) and in the first 2^34 ns (17 s) of the next. */
#define SLOT_BITS 36
#define GRACE_NS (1ULL << 34)
/* Ticks of our timestamps: 2^20 ns. An echoed one is at most 31 s old. */
#define TICK_BITS 20
#define RECENT_TICKS 30000

#define COOKIE_OPTIONS 0xffU

struct packet {
	/* In network order. Of IPv4, the first four bytes of [1] are 00 00 ff ff, as if v4-mapped. */
	u64 remote[2];
	u64 local[2];
	u32 ports;
	u32 seq;
	u32 ack;
	u16 remote_port;
	u16 local_port;
	u8 flags;
	u8 tos;
	/* Bytes of options; more than OPTIONS_MOST if the header length is too small: the packet is then broken. */
	u8 options;
};

enum reading { IS_TCP, NOT_TCP, IS_UNUSUAL };

/*
 * Where the headers are: the length of the link header, and the family. Always constants, so that the compiler makes
 * code with fixed offsets for each kind of packet.
 */
struct place {
	u32 link;
	bool v6;
};

#define NETWORK(place) ((place).link)
#define TRANSPORT(place) ((place).link + ((place).v6 ? IPV6_HEADER : IPV4_HEADER))

struct ipv4 {
	u8 version_length;
	u8 tos;
	be16 length;
	be16 id;
	be16 fragment;
	u8 ttl;
	u8 protocol;
	be16 check;
	be32 source;
	be32 destination;
};

struct ipv6 {
	u8 version_class;
	u8 class_label;
	be16 label;
	be16 length;
	u8 next;
	u8 hops;
	be32 source[4];
	be32 destination[4];
};

struct tcp {
	be16 source;
	be16 destination;
	be32 seq;
	be32 ack;
	u8 offset;
	u8 flags;
	be16 window;
	be16 check;
	be16 urgent;
};

INLINE u64 two(const be32 *words)
{
	return words[0] | (u64)words[1] << 32;
}

INLINE enum reading read_addresses(const void *at, struct place place, struct packet *p)
{
	if (place.v6) {
		const struct ipv6 *ip = at;

		if (ip->next != IPPROTO_TCP)
			return NOT_TCP;
		p->tos = ip->class_label >> 4;
		p->remote[0] = two(ip->source);
		p->remote[1] = two(ip->source + 2);
		p->local[0] = two(ip->destination);
		p->local[1] = two(ip->destination + 2);
	} else {
		const struct ipv4 *ip = at;

		if (ip->protocol != IPPROTO_TCP)
			return NOT_TCP;
		if (ip->version_length != 0x45 || ip->fragment & FRAGMENT_MASK_BE)
			return IS_UNUSUAL;
		p->tos = ip->tos;
		p->remote[0] = p->local[0] = 0;
		p->remote[1] = (u64)ip->source << 32 | V4_MAPPED_BE;
		p->local[1] = (u64)ip->destination << 32 | V4_MAPPED_BE;
	}
	return IS_TCP;
}

INLINE void read_tcp(const struct tcp *tcp, struct packet *p)
{
	p->ports = tcp->source | (u32)tcp->destination << 16;
	p->remote_port = __builtin_bswap16(tcp->source);
	p->local_port = __builtin_bswap16(tcp->destination);
	p->seq = __builtin_bswap32(tcp->seq);
	p->ack = __builtin_bswap32(tcp->ack);
	p->flags = tcp->flags;
	p->options = tcp->offset >> 4 < TCP_HEADER / 4 ? 255 : (tcp->offset >> 4) * 4 - TCP_HEADER;
}

/* Reads the headers. IPv6 with an extension header, as fragments have, is NOT_TCP, and so left to the kernel. */
INLINE enum reading read_packet(struct __sk_buff *skb, struct place place, struct packet *p)
{
	const u32 need = TRANSPORT(place) + TCP_HEADER;
	void *data = (void *)(unsigned long)skb->data;
	enum reading found;

	if (skb->len < need)
		return NOT_TCP;
	if (data + need > (void *)(unsigned long)skb->data_end) {
		if (bpf_skb_pull_data(skb, need))
			return NOT_TCP;
		data = (void *)(unsigned long)skb->data;
		if (data + need > (void *)(unsigned long)skb->data_end)
			return NOT_TCP;
	}
	found = read_addresses(data + NETWORK(place), place, p);
	if (found != IS_TCP)
		return found;
	read_tcp(data + TRANSPORT(place), p);
	return IS_TCP;
}

/*
 * Reads the options: by comparing whole words if they are laid out as usual, otherwise one by one. False: unreadable.
 */
INLINE bool packet_options(struct __sk_buff *skb, struct place place, const struct packet *p, struct options *o)
{
	const u32 at = TRANSPORT(place) + TCP_HEADER;
	const void *data = (const void *)(unsigned long)skb->data, *end = (const void *)(unsigned long)skb->data_end;

	o->wscale = WSCALE_NONE;
	if (!p->options)
		return true;
	if (p->options > OPTIONS_MOST)
		return false;
	if (p->flags & FLAG_SYN) {
		if (p->options == LINUX_SYN_BYTES && data + at + LINUX_SYN_BYTES <= end &&
		    usual_syn_options(data + at, o))
			return true;
	} else if (p->options >= 12 && data + at + 12 <= end && usual_options(data + at, o)) {
		return true;
	}
	return walk_options(skb, at, p->options, o);
}

/*
 * The hash behind a cookie: of the connection, the slot of time and the options of the answer (`chosen`: the low eight
 * bits of the cookie, and STAMPED if there are timestamps).
 */
#define STAMPED 0x100

INLINE u64 sign(const u64 *secret, const struct packet *p, bool v6, u32 isn, u32 chosen, u64 slot)
{
	u64 seven = slot << 16 | (chosen & (STAMPED | COOKIE_OPTIONS));
	struct siphash s;

	sip_begin(&s, secret);
	sip_word(&s, p->ports | (u64)isn << 32);
	if (!v6) {
		sip_word(&s, p->remote[1] >> 32 | (p->local[1] >> 32 << 32));
		return sip_end(&s, 2, seven);
	}
	sip_word(&s, p->remote[0]);
	sip_word(&s, p->remote[1]);
	sip_word(&s, p->local[0]);
	sip_word(&s, p->local[1]);
	return sip_end(&s, 5, seven);
}

OUTLINED u64 sign_v4(struct packet *p, u32 isn, u32 chosen, u64 slot)
{
	return p ? sign(settings.secrets[slot % GUARD_SLOTS], p, false, isn, chosen, slot) : 0;
}

OUTLINED u64 sign_v6(struct packet *p, u32 isn, u32 chosen, u64 slot)
{
	return p ? sign(settings.secrets[slot % GUARD_SLOTS], p, true, isn, chosen, slot) : 0;
}

/*
 * In a cookie with timestamps, eight bits come from a cheap hash instead of SipHash. They tell 255 of 256 ACKs of
 * established connections from ACKs with a cookie, before SipHash is computed. The bits are not missed: the timestamp
 * is signed as well.
 */
#define TAG 0xff00U

INLINE u32 tag(const struct packet *p, u32 isn)
{
	u64 ends = (p->ports | (u64)isn << 32) ^ p->remote[1];

	return ends * (settings.seed | 1) >> 56 << 8;
}

/* The bits of a cookie that come from SipHash. */
INLINE u32 signed_bits(bool stamped)
{
	return stamped ? ~(TAG | COOKIE_OPTIONS) : ~COOKIE_OPTIONS;
}

INLINE bool fits(u64 hash, u32 cookie, bool stamped)
{
	return !(((u32)hash ^ cookie) & signed_bits(stamped));
}

/* Whether an echoed timestamp went out with this cookie within the last RECENT_TICKS. */
INLINE bool is_recent(u64 hash, u64 now, be32 echo)
{
	return (u32)(now >> TICK_BITS) + (u32)(hash >> 32) - __builtin_bswap32(echo) < RECENT_TICKS;
}
