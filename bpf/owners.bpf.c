// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The processes that hold listening TCP sockets, or files of namespaces. The iterator of the kernel visits all files of
 * every process in the reader's PID namespace; this program skips all others. Reading the links of /proc/PID/fd instead
 * takes several system calls and a formatted string for each file, forty times the time.
 */
#include "compat.bpf.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define SOCKFS_MAGIC 0x534f434b
#define NSFS_MAGIC 0x6e736673

struct holder_record {
	u64 inode;
	u32 pid; /* in the reader's PID namespace */
	u32 fd;
};
RECORD(holder_record);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	unsigned long s_magic;
};

struct inode {
	u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
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
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct___holder *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

static void *(*const bpf_get_current_task)(void) = (void *)35;

/* In: when to stop (CLOCK_MONOTONIC, ns); whether to look for namespaces instead of listeners. */
u64 deadline;
u32 namespaces;
/* Out: the walk was stopped at the deadline. */
u32 late;

/* The clock is read once in this many files. */
#define FILES_A_LOOK 64

#define READ(to, pointer, field) bpf_probe_read_kernel(&(to), sizeof(to), (const void *)&(pointer)->field)

INLINE bool is_listener(struct file *file)
{
	struct socket *socket = file->private_data;
	struct sock *sk = 0;
	u16 family = 0;
	u8 state = 0;

	READ(sk, socket, sk);
	READ(state, sk, __sk_common.skc_state);
	READ(family, sk, __sk_common.skc_family);
	return state == TCP_LISTEN && (family == AF_INET || family == AF_INET6);
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

SEC("iter/task_file")
int owners(struct bpf_iter__task_file *ctx)
{
	struct task_struct___holder *task = ctx->task, *leader;
	struct file *file = ctx->file;
	struct holder_record r = {};
	struct inode *inode;

	if (!task || !file)
		return 0;
	if (!(ctx->meta->seq_num % FILES_A_LOOK) && bpf_ktime_get_ns() > deadline) {
		late = 1;
		return 1;
	}
	inode = file->f_inode;
	if (!namespaces && (inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	/* The name of a Unix socket in a file system has the same file type. */
	if (inode->i_sb->s_magic != (namespaces ? NSFS_MAGIC : SOCKFS_MAGIC))
		return 0;
	if (!namespaces && !is_listener(file))
		return 0;
	/* Threads share the table of open files unless they unshared it; older kernels visit every thread. */
	leader = task->group_leader;
	if (leader != task && leader->files == task->files)
		return 0;
	r.pid = number_of(leader);
	r.fd = ctx->fd;
	r.inode = inode->i_ino;
	if (r.pid)
		bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
