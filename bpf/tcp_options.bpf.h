/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The options of a TCP header (RFC 9293, RFC 7323), read from bytes that anybody may have sent. */
#pragma once
#include "compat.bpf.h"
#include "uapi.bpf.h"

#define OUTLINED __attribute__((noinline))

#define OPTIONS_MOST 40
#define WSCALE_MOST 14
#define WSCALE_NONE 15

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, OPTION_WSCALE = 3, OPTION_SACK = 4, OPTION_STAMPS = 8,
       OPTION_MD5 = 19, OPTION_AO = 29 };

/* What a TCP header offers. */
struct options {
	/* The timestamps as they stand in the packet (network order). */
	be32 value;
	be32 echo;
	u16 mss;
	u8 wscale;
	bool sack;
	bool stamped;
	/* TCP-MD5 or TCP-AO, which only the kernel can check. */
	bool is_signed;
	/* An option extends beyond the header. */
	bool broken;
};

/* A walk over options, byte by byte. */
struct option_walk {
	/* A power of two: an offset that is masked by its size is in bounds, which the verifier then sees. */
	u8 bytes[64];
	u32 length;
	u32 at;
	struct options found;
};

INLINE u8 option_byte(const struct option_walk *w, u32 at)
{
	return w->bytes[at & (sizeof(w->bytes) - 1)];
}

INLINE be32 option_word(const struct option_walk *w, u32 at)
{
	return option_byte(w, at) | option_byte(w, at + 1) << 8 | option_byte(w, at + 2) << 16 |
	       (u32)option_byte(w, at + 3) << 24;
}

INLINE u8 wscale_of(u8 offered)
{
	return offered > WSCALE_MOST ? WSCALE_MOST : offered;
}

/* One option; a callback of bpf_loop(). */
static int read_option(u32 turn, struct option_walk *w)
{
	struct options *o = &w->found;
	u32 at = w->at;
	u8 kind, length;

	if (at >= w->length)
		return 1;
	kind = option_byte(w, at);
	if (kind == OPTION_END)
		return 1;
	if (kind == OPTION_NOP) {
		w->at = at + 1;
		return 0;
	}
	length = option_byte(w, at + 1);
	if (at + 1 >= w->length || length < 2 || at + length > w->length) {
		o->broken = true;
		return 1;
	}
	if (kind == OPTION_MSS && length == 4) {
		o->mss = option_byte(w, at + 2) << 8 | option_byte(w, at + 3);
	} else if (kind == OPTION_WSCALE && length == 3) {
		o->wscale = wscale_of(option_byte(w, at + 2));
	} else if (kind == OPTION_SACK && length == 2) {
		o->sack = true;
	} else if (kind == OPTION_MD5 || kind == OPTION_AO) {
		o->is_signed = true;
	} else if (kind == OPTION_STAMPS && length == 10) {
		o->stamped = true;
		o->value = option_word(w, at + 2);
		o->echo = option_word(w, at + 6);
	}
	w->at = at + length;
	return 0;
}

/*
 * Reads `length` bytes of options, 1 to OPTIONS_MOST, at `offset` of a packet. Returns 0 if they cannot be read. This
 * and other OUTLINED functions are global, so that the verifier walks through each once, not once for every path that
 * leads to it.
 */
OUTLINED int walk_options(struct __sk_buff *skb, u32 offset, u32 length, struct options *o)
{
	struct option_walk w = { .length = length };

	if (!o)
		return 0;
	w.found = *o;
	/*
	 * Else the compiler may check a copy of `length`: the verifier needs the bounds of the register that is passed
	 * below.
	 */
	asm volatile("" : "+r"(length));
	if (length < 1 || length > OPTIONS_MOST || bpf_skb_load_bytes(skb, offset, w.bytes, length))
		return 0;
	bpf_loop(OPTIONS_MOST, read_option, &w, 0);
	*o = w.found;
	return !o->broken;
}

#define LINUX_SYN_BYTES 20
/* Kinds and lengths of options, as a little-endian load of their bytes sees them. */
#define MSS_HEAD 0x0402 /* in the low half of its word */
#define SACK_AND_STAMPS 0x0a080204
#define NOPS_AND_STAMPS 0x0a080101
#define NOP_AND_WSCALE 0x030301 /* in the low three bytes of its word */

/* The options of a SYN as Linux and most clients send them: MSS, SACK, timestamps, window scale. False: others. */
INLINE bool usual_syn_options(const u32 *words, struct options *o)
{
	if ((words[0] & 0xffff) != MSS_HEAD || words[1] != SACK_AND_STAMPS ||
	    (words[4] & 0xffffff) != NOP_AND_WSCALE)
		return false;
	o->mss = __builtin_bswap16(words[0] >> 16);
	o->sack = true;
	o->stamped = true;
	o->value = words[2];
	o->echo = words[3];
	o->wscale = wscale_of(words[4] >> 24);
	return true;
}

/* The options of every other packet as nearly everybody sends them: timestamps first. False: others. */
INLINE bool usual_options(const u32 *words, struct options *o)
{
	if (words[0] != NOPS_AND_STAMPS)
		return false;
	o->stamped = true;
	o->value = words[1];
	o->echo = words[2];
	return true;
}
