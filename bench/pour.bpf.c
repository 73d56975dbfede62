// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The bench's sender of SYNs: run on live frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18), each of which becomes the next
 * of the frames in the map and leaves by a device. The program itself waits until the time of a frame has come: so it
 * paces to the nanosecond, as no process could, and gives back no page, whose pool the receiver gives its pages back to.
 *
 * What the honest clients send waits in a queue for its turn, and goes among the SYNs as on one wire of 60 ms. Else it
 * would come just when the sender, which has the same core, does not run, and find room in the ring.
 *
 * Beside it what drops SYN-ACKs to forged addresses, where they leave the server (tc egress) or where they arrive (XDP).
 */
#include "../bpf/compat.bpf.h"
#include "../bpf/uapi.bpf.h"

#define FRAMES 65536
#define FRAME_WORDS 10
#define LENGTH 74
/* So many come together, as from a card that does not interrupt for each. */
#define BURST 32
/* What was missed for longer is not made up for; nor at more than 5/3 of the rate. */
#define LATE_NS 10000000
#define WAITS_MOST 4096
#define XDP_DROP 1
#define XDP_PASS 2
#define TCX_NEXT (-1)
#define TCX_DROP 2
#define ETHERNET 14
#define TO (ETHERNET + 16) /* where IPv4 says to whom */
#define WAITING_MOST 127
/* One way; the other takes no time. */
#define WIRE_NS 60000000
#define BPF_MAP_TYPE_QUEUE 22

struct frame {
	u64 words[FRAME_WORDS];
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[FRAMES];
	u32 *key;
	struct frame *value;
} frames SEC(".maps");

/* A frame of a client, and since when it waits. */
struct waiting {
	u64 since;
	u8 length;
	u8 bytes[WAITING_MOST];
};

struct {
	int (*type)[BPF_MAP_TYPE_QUEUE];
	int (*max_entries)[4096];
	struct waiting *value;
} waiting SEC(".maps");

struct pace {
	/* In: the device, and the time between two bursts. */
	u64 ifindex;
	u64 every_ns;
	u64 due;
	u64 last;
	/* In: the first of the pair of devices that the client's own frames go through. */
	u64 pair;
	/* In: enough was sent. */
	u64 over;
	/* Out. */
	u64 sent;
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	struct pace *value;
} pace SEC(".maps");

static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const bpf_map_push_elem)(void *map, const void *value, u64 flags) = (void *)87;
static long (*const bpf_map_pop_elem)(void *map, void *value) = (void *)88;
static long (*const bpf_map_peek_elem)(void *map, void *value) = (void *)89;
static long (*const bpf_xdp_adjust_tail)(void *xdp, int by) = (void *)65;
static long (*const bpf_xdp_store_bytes)(void *xdp, u32 offset, const void *from, u32 len) = (void *)190;

/* A callback of bpf_loop(), which takes a pointer into the stack alone. */
static int wait(u32 turn, struct pace **at)
{
	struct pace *p = *at;
	u64 now = bpf_ktime_get_ns();

	if (now < p->due || now < p->last + p->every_ns * 3 / 5)
		return 0;
	p->last = now;
	if (now - p->due > LATE_NS)
		p->due = now - LATE_NS;
	p->due += p->every_ns;
	return 1;
}

/* Waits for the time of the next burst. False: it has not come for long. */
INLINE bool is_time(struct pace *p)
{
	u64 before = p->last;

	if (p->sent % BURST)
		return true;
	bpf_loop(WAITS_MOST, wait, &p, 0);
	return p->last != before;
}

/* A frame of a client instead, if one waits: one in a burst, at any place in it. */
INLINE bool is_client(struct xdp_md *xdp, u64 turn)
{
	struct waiting w;
	u32 length;

	if (turn % BURST != turn / BURST * 7 % BURST || bpf_map_peek_elem(&waiting, &w) ||
	    bpf_ktime_get_ns() - w.since < WIRE_NS)
		return false;
	bpf_map_pop_elem(&waiting, &w);
	length = w.length;
	asm volatile("" : "+r"(length));
	if (length < ETHERNET || length > WAITING_MOST || bpf_xdp_adjust_tail(xdp, (int)length - LENGTH))
		return false;
	return !bpf_xdp_store_bytes(xdp, 0, w.bytes, length);
}

SEC("xdp")
int pour(struct xdp_md *xdp)
{
	u32 zero = 0, at;
	struct pace *p = bpf_map_lookup_elem(&pace, &zero);
	struct frame *f;
	u64 *to;

	if (!p || p->over || !is_time(p))
		return XDP_DROP;
	at = p->sent++ % FRAMES;
	if (is_client(xdp, p->sent))
		return bpf_redirect(p->ifindex, 0);
	to = (u64 *)(unsigned long)xdp->data;
	if ((void *)to + LENGTH > (void *)(unsigned long)xdp->data_end)
		return XDP_DROP;
	f = bpf_map_lookup_elem(&frames, &at);
	if (!f)
		return XDP_DROP;
	for (int i = 0; i < FRAME_WORDS - 1; i++)
		to[i] = f->words[i];
	*(u16 *)(to + FRAME_WORDS - 1) = f->words[FRAME_WORDS - 1];
	return bpf_redirect(p->ifindex, 0);
}

/* Whether a frame is for an address of 198.18.0.0/15, from where the forged SYNs come. */
INLINE bool is_for_nobody(const u8 *frame, const u8 *end)
{
	return frame + TO + 4 <= end && *(const be16 *)(frame + ETHERNET - 2) == ETH_P_IP_BE && frame[TO] == 198 &&
	       (frame[TO + 1] & 254) == 18;
}

/* What the client's stack sends goes through a pair of devices first, which finishes its checksums. */
SEC("tc")
int aside(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct pace *p = bpf_map_lookup_elem(&pace, &zero);

	return p && p->pair && skb->protocol == ETH_P_IP_BE ? bpf_redirect(p->pair, 0) : TCX_NEXT;
}

/* There it waits for its turn. */
SEC("tc")
int queued(struct __sk_buff *skb)
{
	u32 length = skb->len;
	struct waiting w = { .since = bpf_ktime_get_ns(), .length = length };

	asm volatile("" : "+r"(length));
	if (length >= ETHERNET && length <= WAITING_MOST && !bpf_skb_load_bytes(skb, 0, w.bytes, length))
		bpf_map_push_elem(&waiting, &w, 0);
	return TCX_DROP;
}

SEC("tc")
int leaving(struct __sk_buff *skb)
{
	return is_for_nobody((const u8 *)(unsigned long)skb->data, (const u8 *)(unsigned long)skb->data_end) ? TCX_DROP :
													    TCX_NEXT;
}

SEC("xdp")
int arriving(struct xdp_md *xdp)
{
	return is_for_nobody((const u8 *)(unsigned long)xdp->data, (const u8 *)(unsigned long)xdp->data_end) ? XDP_DROP :
													    XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
