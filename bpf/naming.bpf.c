// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The census, which gives each request socket its cookie on the way. */
#include "compat.bpf.h"
#include "iterated.bpf.h"

/*
 * In Linux 6.17, together with iterators that show every socket exactly once, whatever comes and goes meanwhile. A
 * kernel without this type refuses the program.
 */
union bpf_tcp_iter_batch_item {
	u64 cookie;
} __attribute__((preserve_access_index));

SEC("iter/tcp")
int naming(struct bpf_iter__tcp *ctx)
{
	if (!FIELD((union bpf_tcp_iter_batch_item *)0, cookie, FIELD_BYTE_OFFSET) && write_request(ctx))
		bpf_get_socket_cookie(ctx->sk_common);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
