/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C wrappers of inline functions and macros that Rust cannot call. None is on a path that runs
 * once for each I/O, but for those that say so.
 */
#ifndef _STORAGE_HELPERS_H
#define _STORAGE_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>
#include <linux/workqueue_types.h>

struct async_domain;
struct bio;
struct hd_geometry;
struct page;
struct virtio_device;
struct virtqueue;

void rust_helper_storage_synchronize_rcu_tasks(void);
struct page *rust_helper_storage_virt_to_page(const void *addr);
/* For each run of pages of an I/O that lie side by side: it saves descriptors. */
bool rust_helper_storage_may_merge(const struct page *first, u32 offset, u32 len,
				   unsigned long boundary);
u64 rust_helper_storage_ktime_get_ns(void);
void rust_helper_storage_account_flush(struct bio *bio, u64 duration_ns);
void rust_helper_storage_set_geometry(struct hd_geometry *geo, u16 cylinders, u8 heads,
				      u8 sectors);
void rust_helper_storage_device_ready(struct virtio_device *vdev);
bool rust_helper_storage_is_confidential(void);
void rust_helper_storage_reset_device(struct virtio_device *vdev);
void rust_helper_storage_config_enable(struct virtio_device *vdev);
unsigned int rust_helper_storage_smp_processor_id(void);
unsigned int rust_helper_storage_nr_cpu_ids(void);
int rust_helper_storage_cpu_to_node(unsigned int cpu);
void rust_helper_storage_set_vq_affinity(struct virtqueue *vq, const unsigned int *map,
					 unsigned int queue);
bool rust_helper_storage_is_all_taken(struct virtqueue *vq);
void rust_helper_storage_init_async_domain(struct async_domain *domain);
void rust_helper_storage_watch_setup(struct delayed_work *work, work_func_t look);
void rust_helper_storage_watch_start(struct delayed_work *work, unsigned int delay_ms, bool again);
bool rust_helper_storage_is_cut_off(struct virtio_device *vdev);
bool rust_helper_storage_has_vectors(struct virtio_device *vdev);
unsigned int rust_helper_storage_count_vectors(struct virtio_device *vdev);
bool rust_helper_storage_forbid_msi(struct virtio_device *vdev, bool forbid);
unsigned int rust_helper_storage_machine_vectors(void);
unsigned int rust_helper_storage_num_online_cpus(void);
unsigned int rust_helper_storage_memalloc_noio_save(void);
void rust_helper_storage_memalloc_noio_restore(unsigned int flags);
/* For kernels without spin_lock_irq_disable(), and there for each I/O. */
unsigned long rust_helper_storage_spin_lock_irqsave(spinlock_t *lock);
void rust_helper_storage_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

#endif
