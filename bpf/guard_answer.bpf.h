/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The guard's SYN-ACK, written over the SYN that it answers. */
#pragma once
#include "guard_packet.bpf.h"

#define MAC_HEADER 14
#define CHECKSUM_PARTIAL 3

/*
 * The same length, computed so that older verifiers (6.1, 6.12) see its bounds, too: `least` to `least + mask`.
 */
#define AT_LEAST(least, length, mask)                                                                                  \
	({                                                                                                             \
		u32 __more = ((length) - (least)) & (mask);                                                            \
		asm volatile("" : "+r"(__more));                                                                       \
		__more &= (mask);                                                                                      \
		__more + (least);                                                                                      \
	})

/* What the SYN-ACK says. */
struct answer {
	u32 seq;
	be32 value;
	be32 echo;
	u16 window;
	u16 mss;
	u8 wscale;
	u8 hops;
	bool sack;
	bool stamped;
	bool ecn;
};

/* The frame. The Ethernet header begins at byte 2, so that IP begins at a multiple of eight. */
#define FRAME_IP 16
union frame {
	u8 bytes[FRAME_IP + IPV6_HEADER + TCP_HEADER + OPTIONS_MOST];
	u16 half[(FRAME_IP + IPV6_HEADER + TCP_HEADER + OPTIONS_MOST) / 2];
	u32 word[(FRAME_IP + IPV6_HEADER + TCP_HEADER + OPTIONS_MOST) / 4];
	u64 both[(FRAME_IP + IPV6_HEADER + TCP_HEADER + OPTIONS_MOST) / 8];
};

INLINE be16 folded(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Writes the options, as little-endian words, in the order in which Linux sends them. Returns their length, 4 to 20. */
INLINE u32 write_options(union frame *f, u32 at, const struct answer *a)
{
	f->word[at++] = 0x0402 | (u32)__builtin_bswap16(a->mss) << 16;
	if (a->stamped) {
		f->word[at++] = a->sack ? 0x0a080204 : 0x0a080101;
		f->word[at++] = a->value;
		f->word[at++] = a->echo;
		f->word[at] = a->wscale == WSCALE_NONE ? 0 : 0x00030301 | (u32)a->wscale << 24;
		return a->wscale == WSCALE_NONE ? 16 : 20;
	}
	if (a->sack)
		f->word[at++] = 0x02040101;
	if (a->wscale != WSCALE_NONE)
		f->word[at++] = 0x00030301 | (u32)a->wscale << 24;
	return 4 + (a->sack ? 4 : 0) + (a->wscale == WSCALE_NONE ? 0 : 4);
}

INLINE void write_ip(union frame *f, const struct packet *p, struct place place, u32 tcp_length, u8 hops)
{
	u32 *ip = f->word + FRAME_IP / 4;
	u64 sum = 0;

	if (place.v6) {
		ip[0] = 0x60;
		ip[1] = __builtin_bswap16(tcp_length) | IPPROTO_TCP << 16 | (u32)hops << 24;
		f->both[FRAME_IP / 8 + 1] = p->local[0];
		f->both[FRAME_IP / 8 + 2] = p->local[1];
		f->both[FRAME_IP / 8 + 3] = p->remote[0];
		f->both[FRAME_IP / 8 + 4] = p->remote[1];
		return;
	}
	/* As in the kernel's SYN-ACKs: don't fragment, and so no identification. */
	ip[0] = 0x45 | (u32)__builtin_bswap16(IPV4_HEADER + tcp_length) << 16;
	ip[1] = 0x0040 << 16;
	ip[2] = hops | IPPROTO_TCP << 8;
	ip[3] = p->local[1] >> 32;
	ip[4] = p->remote[1] >> 32;
	for (int i = 0; i < IPV4_HEADER / 4; i++)
		sum += ip[i];
	ip[2] |= (u32)(u16)~folded(sum) << 16;
}

/* The sum over the pseudo header: what TCP's checksum covers of the IP header. */
INLINE u64 pseudo_sum(const union frame *f, struct place place, u32 tcp_length)
{
	const u32 *ip = f->word + FRAME_IP / 4;
	u64 sum = __builtin_bswap16(IPPROTO_TCP) + (u64)__builtin_bswap16(tcp_length);

	for (int i = place.v6 ? 2 : 3; i < (place.v6 ? 10 : 5); i++)
		sum += ip[i];
	return sum;
}

/*
 * Writes the headers. Returns the length of the TCP header with options. partial: write only the sum over the pseudo
 * header; the device, or the receiver of a packet that never leaves the host, completes the checksum
 * (CHECKSUM_PARTIAL).
 */
INLINE u32 write_tcp(union frame *f, const struct packet *p, struct place place, const struct answer *a, bool partial)
{
	const u32 at = (FRAME_IP + TRANSPORT(place) - place.link) / 4;
	u32 length = TCP_HEADER + write_options(f, at + TCP_HEADER / 4, a);
	u8 flags = FLAG_SYN | FLAG_ACK | (a->ecn ? FLAG_ECE : 0);
	u64 sum;

	f->word[at] = p->ports >> 16 | p->ports << 16;
	f->word[at + 1] = __builtin_bswap32(a->seq);
	f->word[at + 2] = __builtin_bswap32(p->seq + 1);
	f->word[at + 3] = length << 2 | (u32)flags << 8 | (u32)__builtin_bswap16(a->window) << 16;
	write_ip(f, p, place, length, a->hops);
	sum = pseudo_sum(f, place, length);
	if (partial) {
		f->word[at + 4] = folded(sum);
		return length;
	}
	/* Always over the longest header, as a loop needs a constant bound: behind the options there are zeros. */
	for (u32 i = at; i < at + (TCP_HEADER + 20) / 4; i++)
		sum += f->word[i];
	f->word[at + 4] = (u16)~folded(sum);
	return length;
}
