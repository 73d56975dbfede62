// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * What arrives at listeners while somebody looks, and which of it finishes: SYNs, SYNs sent again, last ACKs, RSTs and
 * completed handshakes, by listener and by source (an IPv4 address, an IPv6 /64).
 *
 * The kernel runs the filter of a listener on every packet that meets it or one of its request sockets (tcp_v4_rcv(),
 * tcp_filter()). Every other packet of the machine costs the test of its socket's state.
 */
#include "counting.bpf.h"
#include "packet.bpf.h"

RECORD(arrivals_counters);
RECORD(source_key);
RECORD(source_counters);

#define BPF_F_CURRENT_NETNS (-1L)

#define TCP_FLAGS 13
enum { SYN = 2, RST = 4, ACK = 16 };

/* Not preallocated: 4,096 values for each CPU would take much memory on a large machine. */
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_HASH];
	int (*map_flags)[BPF_F_NO_PREALLOC];
	int (*max_entries)[4096];
	struct handshake_key *key;
	struct arrivals_counters *value;
} listeners SEC(".maps");

/* In a flood nearly every SYN has a new source: the least recently seen ones make room. */
struct {
	int (*type)[BPF_MAP_TYPE_LRU_HASH];
	int (*max_entries)[16384];
	struct source_key *key;
	struct source_counters *value;
} asking SEC(".maps");

/* Sources that finish are kept apart, so that no flood displaces them. */
struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*map_flags)[BPF_F_NO_PREALLOC];
	int (*max_entries)[65536];
	struct source_key *key;
	struct source_counters *value;
} finishing SEC(".maps");

/*
 * Out: events that were not counted, because a map was full. Here and by source, increments by two CPUs at once may be
 * lost: the addition is not atomic, because newer compilers emit a kind of atomic addition that kernels before Linux
 * 5.12 refuse.
 */
u64 unfit;
/* Initial values of new keys. */
struct arrivals_counters nothing;
struct source_counters none;

INLINE struct arrivals_counters *of_listener(const struct handshake_key *key)
{
	struct arrivals_counters *found = entry_of(&listeners, key, &nothing);

	if (!found)
		unfit++;
	return found;
}

INLINE struct source_counters *of_source(void *map, const struct source_key *key)
{
	struct source_counters *found = entry_of(map, key, &none);

	if (!found)
		unfit++;
	return found;
}

/*
 * Whether the connection of a SYN is half-open already: the client sent the SYN again, as it has not received the
 * SYN-ACK.
 */
INLINE bool is_known(struct __sk_buff *skb, const struct ends *ends, bool ipv4)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	bool known;

	if (ipv4) {
		tuple.ipv4.saddr = ends->remote[1] >> 32;
		tuple.ipv4.daddr = ends->local[1] >> 32;
		tuple.ipv4.sport = ends->ports;
		tuple.ipv4.dport = ends->ports >> 16;
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, ends->remote, 16);
		__builtin_memcpy(tuple.ipv6.daddr, ends->local, 16);
		tuple.ipv6.sport = ends->ports;
		tuple.ipv6.dport = ends->ports >> 16;
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return false;
	known = sk->state == TCP_NEW_SYN_RECV;
	bpf_sk_release(sk);
	return known;
}

SEC("cgroup_skb/ingress")
int arrived(struct __sk_buff *skb)
{
	struct handshake_key key = {};
	struct source_key from = {};
	struct arrivals_counters *c;
	struct bpf_sock *sk = skb->sk;
	struct source_counters *s;
	struct ends ends = {};
	bool again;
	u8 flags;
	u32 tcp;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->state != TCP_LISTEN)
		return 1;
	key.netns = netns_of(sk);
	if (only_netns && key.netns != only_netns)
		return 1;
	tcp = read_ends(skb, &ends);
	if (!tcp || bpf_skb_load_bytes(skb, tcp + TCP_FLAGS, &flags, sizeof(flags)))
		return 1;
	key.ifindex = sk->bound_dev_if;
	key.port = __builtin_bswap16(ends.ports >> 16);
	key.family = sk->family;
	key.ipv4 = skb->protocol == ETH_P_IP_BE;
	if (key.family == AF_INET6)
		__builtin_memcpy(key.address, ends.local, 16);
	else
		key.address[0] = ends.local[1] >> 32;
	c = of_listener(&key);
	if (!c)
		return 1;
	again = (flags & (SYN | ACK | RST)) == SYN && is_known(skb, &ends, key.ipv4);
	from.netns = key.netns;
	from.port = key.port;
	from.ipv4 = key.ipv4;
	if (key.ipv4)
		from.source[0] = ends.remote[1] >> 32;
	else
		__builtin_memcpy(from.source, ends.remote, 8);
	s = of_source(&asking, &from);
	if (flags & RST) {
		c->resets++;
		if (s)
			s->resets++;
	} else if ((flags & (SYN | ACK)) == SYN) {
		c->syns++;
		c->repeats += again;
		if (s) {
			s->syns++;
			s->repeats += again;
			s->ifindex = skb->ifindex;
			__builtin_memcpy(s->local, ends.local, 16);
		}
	} else {
		c->acks++;
		if (s)
			s->acks++;
	}
	return 1;
}

SEC("tp_btf/inet_sock_set_state")
int finished(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct handshake_key key = {};
	struct source_key from = {};
	struct arrivals_counters *c;
	struct source_counters *s;
	struct sock_common *skc;
	struct tcp_sock *tp;
	bool late;

	if ((int)ctx[2] != TCP_ESTABLISHED || (int)ctx[1] != TCP_SYN_RECV)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	skc = &sk->__sk_common;
	if (!key_of(skc, &key))
		return 0;
	from.netns = key.netns;
	from.port = key.port;
	from.ipv4 = key.ipv4;
	if (key.family != AF_INET6) {
		from.source[0] = skc->skc_daddr;
	} else if (key.ipv4) {
		from.source[0] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
	} else {
		from.source[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		from.source[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
	}
	late = tp->total_retrans;
	c = of_listener(&key);
	if (c) {
		c->finished++;
		c->late += late;
		c->no_timestamps += !READ_BITS(tp, rx_opt.tstamp_ok);
	}
	s = of_source(&finishing, &from);
	if (s) {
		s->finished++;
		s->late += late;
		/* The first sample is the time from the SYN-ACK to its ACK; without one it is 0. */
		if (tp->srtt_us) {
			s->timed++;
			s->sum_us += tp->srtt_us >> 3;
		}
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
