// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts how often each block of guest code runs. The counters lie in a file
 * that the host reads too: it looks before and after what it wants to know about.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qemu_plugin.h"

struct block {
	unsigned long address;
	unsigned long instructions;
	unsigned long runs;
};

/* The file is sparse: what is not used costs nothing. */
#define MAX_BLOCKS (4 << 20)

static struct block *blocks;
static unsigned long used;

int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static void on_run(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	__atomic_fetch_add(&block->runs, 1, __ATOMIC_RELAXED);
}

static void on_translation(unsigned long id, struct qemu_plugin_tb *tb)
{
	unsigned long slot = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);

	(void)id;
	if (slot >= MAX_BLOCKS)
		return;
	blocks[slot].address = qemu_plugin_tb_vaddr(tb);
	blocks[slot].instructions = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_run, QEMU_PLUGIN_CB_NO_REGS, &blocks[slot]);
}

/* The only argument: out=FILE. */
int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
	const unsigned long size = sizeof(*blocks) * MAX_BLOCKS;
	int fd;

	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	fd = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, size))
		return -1;
	blocks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (blocks == MAP_FAILED)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
