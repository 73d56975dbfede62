// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The guard: answers SYNs for listeners whose SYN queue fills, and keeps no state of them. It sits at tc ingress, in
 * the listener's own namespace, before netfilter and TCP. Its SYN-ACK carries a cookie: a signature in the sequence
 * number, and with it all the options that the client offered. When the ACK comes back, bpf_sk_assign_tcp_reqsk() makes
 * the request socket that the kernel would have had, and TCP goes on as ever; nothing is translated afterwards. So the
 * guard can go at any time: established connections do not need it.
 *
 * The program is attached by links (tcx) that go with the process. Whatever it does not understand it leaves to the
 * kernel; below the share of the queue at which it is engaged it leaves everything to the kernel.
 */
#include "guard_tc.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
