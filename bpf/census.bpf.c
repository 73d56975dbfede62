// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Every request socket of a namespace, with its exact age, timer and retransmissions; read the iterator to its end. */
#include "iterated.bpf.h"

SEC("iter/tcp")
int census(struct bpf_iter__tcp *ctx)
{
	write_request(ctx);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
