// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The time that completed handshakes took, and how often their SYN-ACK was retransmitted, counted per CPU and read on
 * demand.
 *
 * The first round-trip sample of a new connection is the time from the first SYN-ACK to the final ACK. For a
 * retransmitted SYN-ACK tcp_synack_rtt_meas() takes no sample, so a retransmission notes when the first one was sent.
 */
#include "counting.bpf.h"

RECORD(handshake_counters);
RECORD(handshake_cpu);

/* The addresses and ports by which a request and the connection that it becomes are known to be the same. */
struct tuple {
	u32 netns;
	u16 local_port;
	u16 remote_port;
	u32 local[4];
	u32 remote[4];
};

/* Not preallocated: 4,096 times all CPUs would be half a gigabyte on a large machine. */
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_HASH];
	int (*map_flags)[BPF_F_NO_PREALLOC];
	int (*max_entries)[4096];
	struct handshake_key *key;
	struct handshake_counters *value;
} counters SEC(".maps");

/* When the first SYN-ACK was sent, us, of connections whose SYN-ACK was retransmitted. */
struct {
	int (*type)[BPF_MAP_TYPE_LRU_HASH];
	int (*max_entries)[65536];
	struct tuple *key;
	u64 *value;
} first_sent SEC(".maps");

/*
 * In a per-CPU map, not in global variables: CPUs would have to add to these atomically, by an instruction that newer
 * compilers emit and that kernels before Linux 5.12 refuse.
 */
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	struct handshake_cpu *value;
} cpu_state SEC(".maps");

/* In: whether the program `cookies` is attached. */
u32 knows_cookies;
/* The initial value of a new key: too large for the stack of a program (512 bytes). */
struct handshake_counters nothing;

INLINE struct handshake_cpu *this_cpu(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_state, &zero);
}

INLINE struct handshake_counters *counters_of(struct sock_common *skc)
{
	struct handshake_key key = {};
	struct handshake_counters *found;

	if (!key_of(skc, &key))
		return 0;
	found = entry_of(&counters, &key, &nothing);
	if (!found) {
		struct handshake_cpu *cpu = this_cpu();

		if (cpu)
			cpu->unfit++;
	}
	return found;
}

INLINE void tuple_of(struct sock_common *skc, struct tuple *tuple)
{
	tuple->netns = skc->skc_net.net->ns.inum;
	tuple->local_port = skc->skc_num;
	tuple->remote_port = skc->skc_dport;
	if (skc->skc_family == AF_INET6) {
		__builtin_memcpy(tuple->local, skc->skc_v6_rcv_saddr.in6_u.u6_addr32, 16);
		__builtin_memcpy(tuple->remote, skc->skc_v6_daddr.in6_u.u6_addr32, 16);
	} else {
		tuple->local[0] = skc->skc_rcv_saddr;
		tuple->remote[0] = skc->skc_daddr;
	}
}

/* Enough of a connection to recognize it when the same CPU finishes it a few microseconds later. */
INLINE u64 mark_of(struct sock_common *skc)
{
	u64 remote = skc->skc_family == AF_INET6 ? skc->skc_v6_daddr.in6_u.u6_addr32[3] : skc->skc_daddr;

	return remote << 32 | (u32)skc->skc_dport << 16 | skc->skc_num;
}

INLINE void count_time(struct handshake_counters *c, u64 us)
{
	u32 bucket = 0;

	if (us >> (HANDSHAKE_FIRST_OCTAVE + HANDSHAKE_OCTAVES)) {
		bucket = HANDSHAKE_BUCKETS - 1;
	} else if (us >> HANDSHAKE_FIRST_OCTAVE) {
		u32 octave = 0, rest = us;

		if (rest >> 16) {
			octave = 16;
			rest >>= 16;
		}
		if (rest >> 8) {
			octave += 8;
			rest >>= 8;
		}
		if (rest >> 4) {
			octave += 4;
			rest >>= 4;
		}
		if (rest >> 2) {
			octave += 2;
			rest >>= 2;
		}
		octave += rest >> 1;
		bucket = 1 + (octave - HANDSHAKE_FIRST_OCTAVE) * 4 + ((us >> (octave - 2)) & 3);
	}
	asm volatile("" : "+r"(bucket)); /* keeps the check below, which the compiler finds redundant and the verifier needs */
	if (bucket < HANDSHAKE_BUCKETS)
		c->times[bucket]++;
	if (us >= 1000000)
		for (u32 i = 0; i < HANDSHAKE_TIMERS; i++)
			if (us >= ((2ull << i) - 1) * 1000000)
				c->later[i]++;
	c->sum_us += us;
	if (us > c->max_us)
		c->max_us = us;
}

/* Counts the time since the first SYN-ACK of a connection whose SYN-ACK was retransmitted `again` times. */
INLINE void count_retransmitted(struct handshake_counters *c, struct sock_common *skc, struct tcp_sock *tp, u32 again)
{
	u64 now = bpf_ktime_get_ns() / 1000;
	struct tuple tuple = {};
	u64 *noted, sent = 0;

	tuple_of(skc, &tuple);
	noted = bpf_map_lookup_elem(&first_sent, &tuple);
	if (noted) {
		sent = *noted;
		bpf_map_delete_elem(&first_sent, &tuple);
	}
	if (sent && sent <= now) {
		count_time(c, now - sent);
		return;
	}
	/*
	 * No note: the ACK overtook the event on another CPU, the retransmission came before the programs were
	 * attached, or the map dropped the entry. Since commit 3868ab0f1925 ("tcp: new TCP_INFO stats for RTO events")
	 * (in v6.7), the new connection holds the time in milliseconds, if a timer ran out.
	 */
	if (FIELD(tp, total_rto_time, FIELD_EXISTS) && tp->total_rto_time) {
		count_time(c, tp->total_rto_time * 1000ull);
		return;
	}
	/* The least it can have been: timers of 1, 2, 4 ... s. */
	c->approximate++;
	count_time(c, ((1ull << (again < 7 ? again : 7)) - 1) * 1000000);
}

INLINE bool is_from_cookie(struct sock_common *skc)
{
	struct handshake_cpu *cpu = this_cpu();

	if (!cpu || !cpu->from_cookie || cpu->from_cookie != mark_of(skc))
		return false;
	cpu->from_cookie = 0;
	return true;
}

/*
 * Used where the program `cookies` cannot be attached. A connection made from a SYN cookie gets its first RTT sample
 * from the timestamp that it echoes. In the SYN-ACK that timestamp was in whole milliseconds, and its lowest bits had
 * been replaced by options that the cookie has no room for (cookie_init_timestamp()). So the sample is a whole number
 * of milliseconds (and up to 64 ms too long), and the low bits of the echo equal the options: by chance, one of 32,000
 * others looks the same.
 */
INLINE bool looks_from_cookie(struct tcp_sock *tp, u32 us)
{
	struct tcp_options_received *opt = &tp->rx_opt;
	u32 options;

	if (!us || us % 1000)
		return false;
	options = READ_BITS(opt, wscale_ok) ? READ_BITS(opt, snd_wscale) : 15;
	if (READ_BITS(opt, sack_ok))
		options |= 16;
	return (opt->rcv_tsecr & 31) == options;
}

SEC("tp_btf/inet_sock_set_state")
int finished(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct handshake_counters *c;
	struct sock_common *skc;
	struct tcp_sock *tp;
	u32 again, us;

	if ((int)ctx[2] != TCP_ESTABLISHED || (int)ctx[1] != TCP_SYN_RECV)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	skc = &sk->__sk_common;
	c = counters_of(skc);
	if (!c)
		return 0;
	again = tp->total_retrans;
	us = tp->srtt_us >> 3;
	if (again < HANDSHAKE_RETRANSMITS - 1)
		c->by_retransmits[again & (HANDSHAKE_RETRANSMITS - 1)]++;
	else
		c->by_retransmits[HANDSHAKE_RETRANSMITS - 1]++;
	if (again) {
		count_retransmitted(c, skc, tp, again);
		return 0;
	}
	if (!tp->srtt_us || (knows_cookies ? is_from_cookie(skc) : looks_from_cookie(tp, us)))
		c->untimed++;
	else
		count_time(c, us);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int sent_again(u64 *ctx)
{
	struct tcp_request_sock *req = (void *)ctx[1];
	struct sock_common *skc = &req->req.req.__req_common;
	struct handshake_counters *c = counters_of(skc);
	struct tuple tuple = {};
	u64 sent = 0;

	if (!c)
		return 0;
	c->synack_retransmits++;
	bpf_probe_read_kernel(&sent, sizeof(sent), &req->snt_synack);
	tuple_of(skc, &tuple);
	bpf_map_update_elem(&first_sent, &tuple, &sent, 0);
	return 0;
}

/* Each program below is optional: some hosts refuse fentry and fexit. */

SEC("fentry/tcp_get_cookie_sock")
int cookies(u64 *ctx)
{
	struct request_sock *req = (void *)ctx[2];
	struct handshake_cpu *cpu = this_cpu();

	if (cpu)
		cpu->from_cookie = mark_of(&req->__req_common);
	return 0;
}

SEC("fentry/inet_csk_reqsk_queue_hash_add")
int arrived(u64 *ctx)
{
	struct request_sock *req = (void *)ctx[1];
	struct handshake_counters *c = counters_of(&req->__req_common);

	if (c)
		c->arrivals++;
	return 0;
}

/*
 * The kernel's function returns true if it took the request out of the hash: the request expired, was reset or was
 * released. A request that completes has left the hash before, when the new connection took its place
 * (inet_ehash_insert()): false.
 */
SEC("fexit/__inet_csk_reqsk_queue_drop")
int given_up(u64 *ctx)
{
	struct request_sock *req = (void *)ctx[1];
	struct handshake_counters *c;

	if (!(ctx[3] & 1))
		return 0;
	c = counters_of(&req->__req_common);
	if (c)
		c->given_up++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
