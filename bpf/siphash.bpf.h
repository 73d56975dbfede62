/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* SipHash-2-4 over whole words (Aumasson and Bernstein, 2012), as the kernel signs its own SYN cookies. */
#pragma once
#include "kernel.bpf.h"

struct siphash {
	u64 v0, v1, v2, v3;
};

#define ROTATE(word, by) ((word) << (by) | (word) >> (64 - (by)))

INLINE void sip_round(struct siphash *s)
{
	s->v0 += s->v1;
	s->v1 = ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = ROTATE(s->v2, 32);
}

INLINE void sip_begin(struct siphash *s, const u64 *key)
{
	s->v0 = key[0] ^ 0x736f6d6570736575ULL;
	s->v1 = key[1] ^ 0x646f72616e646f6dULL;
	s->v2 = key[0] ^ 0x6c7967656e657261ULL;
	s->v3 = key[1] ^ 0x7465646279746573ULL;
}

INLINE void sip_word(struct siphash *s, u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

/* The hash of the `words` words that were put in, and of seven bytes more. */
INLINE u64 sip_end(struct siphash *s, u32 words, u64 seven)
{
	sip_word(s, ((u64)words * 8 + 7) << 56 | (seven & ~0ULL >> 8));
	s->v2 ^= 0xff;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}
