/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of QEMU's plugin interface (as of QEMU 9 and 10) that tbcount.c needs, written down
 * here because Debian does not package the header. Numbers of 64 bits are `unsigned long` on all
 * hosts that matter.
 */
#ifndef QEMU_PLUGIN_H
#define QEMU_PLUGIN_H

#define QEMU_PLUGIN_VERSION 4
#define QEMU_PLUGIN_CB_NO_REGS 0

struct qemu_plugin_tb;

/* What QEMU calls. */
extern int qemu_plugin_version;
int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv);

/* What QEMU offers. */
void qemu_plugin_register_vcpu_tb_trans_cb(unsigned long id,
					   void (*cb)(unsigned long id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*cb)(unsigned int cpu, void *data),
					  int flags, void *data);
unsigned long qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
unsigned long qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

#endif
