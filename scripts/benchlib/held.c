// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts the instructions which a module runs with a spinlock held that it took
 * itself. The counters lie in a file that the host reads too, and in which it says where the module
 * and the functions of locks are. What is executed while the lock is waited for is not counted.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qemu_plugin.h"

#define FUNCTIONS 16
#define CPUS 16

/* As in held.py. */
struct shared {
	unsigned long ready;
	unsigned long module_start;
	unsigned long module_end;
	unsigned long locks[FUNCTIONS];
	unsigned long unlocks[FUNCTIONS];
	struct cpu {
		unsigned long held;
		unsigned long sections;
		/* Of the plugin alone. */
		unsigned long last;
		unsigned long depth;
		unsigned long waiting;
		unsigned long unused[3];
	} cpus[CPUS];
};

struct block {
	unsigned long address;
	unsigned long instructions;
};

static struct shared *shared;

int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static int is_one_of(const unsigned long *functions, unsigned long address)
{
	int i;

	for (i = 0; i < FUNCTIONS && functions[i]; i++)
		if (functions[i] == address)
			return 1;
	return 0;
}

static int is_in_module(unsigned long address)
{
	return address >= shared->module_start && address < shared->module_end;
}

static void on_run(unsigned int number, void *data)
{
	const struct block *block = data;
	const unsigned long address = block->address;
	struct cpu *cpu;

	if (number >= CPUS || !__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE))
		return;
	cpu = &shared->cpus[number];

	/* A call ends a block, and its target begins one. */
	if (is_in_module(cpu->last)) {
		if (is_one_of(shared->locks, address)) {
			if (!cpu->depth++)
				cpu->waiting = 1;
		} else if (cpu->depth && is_one_of(shared->unlocks, address)) {
			cpu->depth--;
			cpu->waiting = 0;
		}
	} else if (cpu->waiting && is_in_module(address)) {
		cpu->waiting = 0;
		cpu->sections++;
	}
	if (cpu->depth && !cpu->waiting)
		cpu->held += block->instructions;
	cpu->last = address;
}

static void on_translation(unsigned long id, struct qemu_plugin_tb *tb)
{
	struct block *block = malloc(sizeof(*block));

	(void)id;
	if (!block)
		abort();
	block->address = qemu_plugin_tb_vaddr(tb);
	block->instructions = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_run, QEMU_PLUGIN_CB_NO_REGS, block);
}

/* The only argument: out=FILE. */
int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
	int fd;

	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	fd = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, sizeof(*shared)))
		return -1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
