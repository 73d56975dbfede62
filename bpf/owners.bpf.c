// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The processes that hold TCP sockets, or files of namespaces. The iterator visits every task in the reader's PID
 * namespace; this program goes through the task's table of open files, 64 pointers at a time, and passes over all files
 * but those with the operations of the reader's sample file. iter/task_file, which takes a reference to every file,
 * takes ten times as long; the links of /proc/PID/fd take hundreds of times as long.
 */
#include "compat.bpf.h"

/* fs/file.c: a table of open files has a multiple of this many places on a 64-bit kernel. */
#define STRETCH 64
/* How much of one task's table is looked at in one call; then the iterator is made to show the task again. */
#define STRETCHES 64
#define ROOM 4096
#define IPPROTO_TCP 6

struct holder_record {
	u64 inode;
	u32 pid; /* in the reader's PID namespace */
	u32 fd;
};
RECORD(holder_record);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct inode {
	unsigned long i_ino;
};

struct file {
	void *f_op;
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct upid {
	int nr;
	void *ns;
};

struct pid {
	u32 level;
	struct upid numbers[1];
};

struct socket {
	struct sock *sk;
};

struct task_struct___holder {
	struct task_struct___holder *group_leader;
	struct files_struct *files;
	struct pid *thread_pid;
	int pid;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct___holder *task;
};

#pragma clang attribute pop

static void *(*const bpf_get_current_task)(void) = (void *)35;

/*
 * In: a descriptor that the reader has open, a socket or a file of a namespace: files with the same operations are
 * looked for.
 */
u32 sample;
/* In: report every such file; otherwise only TCP sockets in `states`, one bit each. */
u32 every;
u32 states;
/* Out: the files that were found. The reader takes them and sets `count` to 0 after each read(). */
u32 count;
struct holder_record found[ROOM];
/* Kept from one call to the next: the operations of `sample`; the task that was not finished, and where to go on. */
u64 operations;
u32 unfinished;
u32 next_fd;

static struct file *files[STRETCH];
static struct inode *inodes[STRETCH];

#define READ(to, pointer, field) bpf_probe_read_kernel(&(to), sizeof(to), (const void *)&(pointer)->field)

/* The operations of the reader's sample file; 0 where it has none. */
INLINE u64 operations_of_sample(void)
{
	struct task_struct___holder *reader = bpf_get_current_task();
	struct files_struct *open = 0;
	struct fdtable *table = 0;
	struct file **at = 0, *file = 0;
	u64 found_operations = 0;

	READ(open, reader, files);
	READ(table, open, fdt);
	READ(at, table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), at + sample);
	READ(found_operations, file, f_op);
	return found_operations;
}

/*
 * Whether it is a TCP socket in one of the states. Other protocols use the same numbers for states, so the family and
 * the protocol are checked as well.
 */
INLINE bool is_wanted(struct socket *socket)
{
	u16 family = 0, protocol = 0;
	struct sock *sk = 0;
	u8 state = 0;

	READ(sk, socket, sk);
	READ(state, sk, __sk_common.skc_state);
	if (!(states >> (state & 31) & 1))
		return false;
	READ(family, sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return false;
	/* The protocol of a Multipath TCP listener is IPPROTO_MPTCP; it counts as well. */
	if (state == TCP_LISTEN)
		return true;
	READ(protocol, sk, sk_protocol);
	return protocol == IPPROTO_TCP;
}

/* The PID of `leader` in the reader's PID namespace; 0 where it has none there. */
INLINE u32 number_of(struct task_struct___holder *leader)
{
	struct task_struct___holder *reader = bpf_get_current_task();
	struct pid *mine = 0, *theirs = 0;
	u32 level = 0, theirs_level = 0, number = 0;

	READ(mine, reader, thread_pid);
	READ(level, mine, level);
	READ(theirs, leader, thread_pid);
	READ(theirs_level, theirs, level);
	if (level > theirs_level)
		return 0;
	bpf_probe_read_kernel(&number, sizeof(number),
			      (void *)theirs + FIELD(theirs, numbers, FIELD_BYTE_OFFSET) + level * sizeof(struct upid));
	return number;
}

/*
 * The three functions below are not inlined, so that the verifier walks through each only once. Other tasks may close
 * files meanwhile: every read is one that may fail, and a file that is reported may be closed already, as with /proc.
 */

/* Notes the inode of file `i` of this stretch, if the file is one to report. */
__attribute__((noinline)) int take(u32 i)
{
	struct inode *inode = 0;
	struct socket *socket = 0;
	struct file *file;
	u64 theirs = 0;

	if (i >= STRETCH)
		return 0;
	inodes[i] = 0;
	file = files[i];
	if (!file)
		return 0;
	READ(theirs, file, f_op);
	if (theirs != operations)
		return 0;
	READ(inode, file, f_inode);
	if (!every) {
		READ(socket, file, private_data);
		if (!is_wanted(socket))
			return 0;
	}
	inodes[i] = inode;
	return 0;
}

/* Reports file `i`, if take() noted its inode. */
__attribute__((noinline)) int tell(u32 i, u32 fd, u32 pid)
{
	unsigned long number = 0;
	u32 n = count;

	if (i >= STRETCH || n >= ROOM || !inodes[i])
		return 0;
	READ(number, inodes[i], i_ino);
	found[n].inode = number;
	found[n].pid = pid;
	found[n].fd = fd;
	count = n + 1;
	return 0;
}

/*
 * Looks at 64 places of a table of open files: first at all files, then at all inodes. Loads that do not depend on each
 * other overlap, so the processor waits for several cache misses at a time.
 */
__attribute__((noinline)) int look(u64 table, u32 first, u32 pid)
{
	u32 i;

	if (bpf_probe_read_kernel(files, sizeof(files), (const void *)(table + (u64)first * sizeof(files[0]))))
		return 0;
	for (i = 0; i < STRETCH; i++)
		take(i);
	for (i = 0; i < STRETCH; i++)
		tell(i, first + i, pid);
	return 0;
}

SEC("iter/task")
int owners(struct bpf_iter__task *ctx)
{
	struct task_struct___holder *task = ctx->task, *leader;
	struct files_struct *open;
	struct fdtable *table;
	u32 i, fd, places, pid;
	u64 at = 0;

	if (!task)
		return 0;
	if (!operations)
		operations = operations_of_sample();
	open = task->files;
	leader = task->group_leader;
	/*
	 * A thread with the table of its leader was counted with the leader; one that called unshare(CLONE_FILES) has
	 * its own.
	 */
	if (!open || (leader != task && leader->files == open))
		return 0;
	pid = number_of(leader);
	if (!pid)
		return 0;
	table = open->fdt;
	READ(at, table, fd);
	places = table->max_fds;
	fd = unfinished == task->pid ? next_fd : 0;
	unfinished = 0;
	for (i = 0; i < STRETCHES; i++) {
		if (fd >= places)
			return 0;
		if (count > ROOM - STRETCH)
			break;
		look(at, fd, pid);
		fd += STRETCH;
	}
	/* read() ends here with EAGAIN, and the next one begins with the same task (kernel/bpf/bpf_iter.c). */
	unfinished = task->pid;
	next_fd = fd;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
