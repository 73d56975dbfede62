/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Access to fields whose place or size differs between kernels. */
#pragma once
#include "kernel.bpf.h"

/* clang's numbers for __builtin_preserve_field_info (BPF CO-RE). */
enum {
	FIELD_BYTE_OFFSET = 0,
	FIELD_BYTE_SIZE = 1,
	FIELD_EXISTS = 2,
	FIELD_LSHIFT_U64 = 4,
	FIELD_RSHIFT_U64 = 5,
};

#define FIELD(pointer, field, what) __builtin_preserve_field_info((pointer)->field, what)

/*
 * An unsigned bit field, wherever this kernel keeps it and however wide its storage is. The loads are written out: a
 * load that the compiler makes for a bit field uses the offset in our header, which is not relocated.
 */
#define READ_BITS(pointer, field)                                                                                      \
	({                                                                                                             \
		const void *__at = (const void *)(pointer) + FIELD(pointer, field, FIELD_BYTE_OFFSET);                \
		u64 __value = 0;                                                                                       \
		asm volatile("" : "=r"(__at) : "0"(__at));                                                             \
		switch (FIELD(pointer, field, FIELD_BYTE_SIZE)) {                                                      \
		case 1:                                                                                                \
			__value = *(const u8 *)__at;                                                                   \
			break;                                                                                         \
		case 2:                                                                                                \
			__value = *(const u16 *)__at;                                                                  \
			break;                                                                                         \
		case 4:                                                                                                \
			__value = *(const u32 *)__at;                                                                  \
			break;                                                                                         \
		case 8:                                                                                                \
			__value = *(const u64 *)__at;                                                                  \
			break;                                                                                         \
		}                                                                                                      \
		__value <<= FIELD(pointer, field, FIELD_LSHIFT_U64);                                                   \
		__value >> FIELD(pointer, field, FIELD_RSHIFT_U64);                                                    \
	})
