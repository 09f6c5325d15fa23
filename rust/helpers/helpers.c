// SPDX-License-Identifier: GPL-2.0

#include <linux/async.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/hdreg.h>
#include <linux/irq.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/part_stat.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/sched/isolation.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/topology.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <xen/xen.h>
#ifdef CONFIG_X86
#include <asm/irq_vectors.h>
#endif

#include "helpers.h"

void rust_helper_storage_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

struct page *rust_helper_storage_virt_to_page(const void *addr)
{
	return virt_to_page(addr);
}

/*
 * What biovec_phys_mergeable() asks of pages that lie side by side, here from first on: whether a
 * device may have the len bytes at offset in one piece.
 */
bool rust_helper_storage_may_merge(const struct page *first, u32 offset, u32 len,
				   unsigned long boundary)
{
	const struct page *last = first + ((unsigned long)offset + len - 1) / PAGE_SIZE;
	phys_addr_t begin = page_to_phys(first) + offset;

	if (IS_ENABLED(CONFIG_KMSAN) || xen_domain() ||
	    is_zone_device_page(first) || is_zone_device_page(last))
		return false;
	return (begin | boundary) == ((begin + len - 1) | boundary);
}

u64 rust_helper_storage_ktime_get_ns(void)
{
	return ktime_get_ns();
}

/* What blk_account_io_flush() does for a flush request, for a bio-based disk. */
void rust_helper_storage_account_flush(struct bio *bio, u64 duration_ns)
{
	struct block_device *part = bio->bi_bdev->bd_disk->part0;

	part_stat_lock();
	part_stat_inc(part, ios[STAT_FLUSH]);
	part_stat_add(part, nsecs[STAT_FLUSH], duration_ns);
	part_stat_unlock();
}

void rust_helper_storage_set_geometry(struct hd_geometry *geo, u16 cylinders, u8 heads,
				      u8 sectors)
{
	geo->cylinders = cylinders;
	geo->heads = heads;
	geo->sectors = sectors;
}

/*
 * What virtio_device_ready() does, but once: it warns of a device that is ready. The status is read
 * here only, so that none can say so just after it was asked.
 */
void rust_helper_storage_device_ready(struct virtio_device *vdev)
{
	u8 status = vdev->config->get_status(vdev);

	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		return;
#ifdef CONFIG_VIRTIO_HARDEN_NOTIFICATION
	virtio_synchronize_cbs(vdev);
	__virtio_unbreak_device(vdev);
#endif
	vdev->config->set_status(vdev, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Whether the guest's memory is kept from its host, which it need not trust then. */
bool rust_helper_storage_is_confidential(void)
{
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

struct storage_reset {
	struct delayed_work again;
	struct virtio_device *vdev;
};

static void storage_reset_again(struct work_struct *work)
{
	struct storage_reset *reset = container_of(work, struct storage_reset, again.work);
	struct virtio_device *vdev = reset->vdev;

	if (vdev->config->get_status(vdev) != 0xff)
		vdev->config->reset(vdev);
	else
		kblockd_mod_delayed_work_on(WORK_CPU_UNBOUND, &reset->again, HZ);
}

/*
 * Virtio PCI tells the device once to reset itself, and waits until it has, however long that
 * takes. If the device is switched off for the moment, it never hears of it, comes back as it was,
 * and is waited for without an end. So it is told again if it takes long. Both then see that it was
 * done, as its status stays 0 until both have. (What else the bus does at a reset, to a queue of
 * its own for administration, may not be done twice at once.)
 */
void rust_helper_storage_reset_device(struct virtio_device *vdev)
{
	struct storage_reset reset = { .vdev = vdev };

	INIT_DELAYED_WORK_ONSTACK(&reset.again, storage_reset_again);
	if (vdev->dev.parent && dev_is_pci(vdev->dev.parent) &&
	    !__virtio_test_bit(vdev, VIRTIO_F_ADMIN_VQ))
		kblockd_mod_delayed_work_on(WORK_CPU_UNBOUND, &reset.again, HZ);
	virtio_reset_device(vdev);
	cancel_delayed_work_sync(&reset.again);
	destroy_delayed_work_on_stack(&reset.again);
}

/* What virtio_config_core_enable() does, which is static. */
void rust_helper_storage_config_enable(struct virtio_device *vdev)
{
	spin_lock_irq(&vdev->config_lock);
	vdev->config_core_enabled = true;
	spin_unlock_irq(&vdev->config_lock);
	/* Tells of a change that came meanwhile. */
	virtio_config_driver_enable(vdev);
}

/* A hint only: the task may move to another CPU at once. */
unsigned int rust_helper_storage_smp_processor_id(void)
{
	return raw_smp_processor_id();
}

unsigned int rust_helper_storage_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

int rust_helper_storage_cpu_to_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

/*
 * Sends the interrupts of virtqueue number `queue` to the CPUs for which `map` has that number, but
 * for isolated ones. Each time that it is found: with the old virtqueue its vector went, and with
 * that what the administrator had set.
 */
void rust_helper_storage_set_vq_affinity(struct virtqueue *vq, const unsigned int *map,
					 unsigned int queue)
{
	cpumask_var_t mask;
	unsigned int cpu;

	if (!vq->callback || !zalloc_cpumask_var(&mask, GFP_KERNEL))
		return;
	for_each_possible_cpu(cpu)
		if (map[cpu] == queue && housekeeping_test_cpu(cpu, HK_TYPE_MANAGED_IRQ))
			cpumask_set_cpu(cpu, mask);
	/* A hint: without it the interrupts come, but to another CPU. */
	if (!cpumask_empty(mask))
		virtqueue_set_affinity(vq, mask);
	free_cpumask_var(mask);
}

/*
 * Whether the device wants to be notified of what is added next, and so has taken all before that.
 * That it tells by its event index; a packed ring is as good as one without.
 */
bool rust_helper_storage_is_all_taken(struct virtqueue *vq)
{
	const struct vring *vring;

	if (virtio_has_feature(vq->vdev, VIRTIO_F_RING_PACKED) ||
	    !virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX))
		return false;
	vring = virtqueue_get_vring(vq);
	/* Both in the device's byte order. */
	return READ_ONCE(vring_avail_event(vring)) == READ_ONCE(vring->avail->idx);
}

/* What ASYNC_DOMAIN() does: who waits for all asynchronous work waits for this domain's, too. */
void rust_helper_storage_init_async_domain(struct async_domain *domain)
{
	INIT_LIST_HEAD(&domain->pending);
	domain->registered = 1;
}

void rust_helper_storage_watch_setup(struct delayed_work *work, work_func_t look)
{
	INIT_DELAYED_WORK(work, look);
}

/*
 * Has the work done after a while, on no CPU that is isolated. It goes to the workqueue of blk-mq's
 * timeouts: that has a rescuer, so the work needs no memory. If it waits already, it does so anew
 * if `again` is set. Preemption stays off so long as a CPU that was found online has to be.
 */
void rust_helper_storage_watch_start(struct delayed_work *work, unsigned int delay_ms, bool again)
{
	int here = get_cpu(), cpu;

	if (!again && delayed_work_pending(work))
		goto out;
	rcu_read_lock();
	cpu = WORK_CPU_UNBOUND;
	if (!housekeeping_test_cpu(here, HK_TYPE_DOMAIN) ||
	    !housekeeping_test_cpu(here, HK_TYPE_KERNEL_NOISE)) {
		for_each_cpu_and(cpu, housekeeping_cpumask(HK_TYPE_DOMAIN),
				 housekeeping_cpumask(HK_TYPE_KERNEL_NOISE))
			if (cpu_online(cpu))
				break;
		if (cpu >= nr_cpu_ids)
			cpu = WORK_CPU_UNBOUND;
	}
	rcu_read_unlock();
	kblockd_mod_delayed_work_on(cpu, work, msecs_to_jiffies(delay_ms));
out:
	put_cpu();
}

/* Until it is ended by the restore, the task's allocations do no I/O. */
unsigned int rust_helper_storage_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void rust_helper_storage_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

/* Whether the bus keeps a device from memory, or from us: it was switched off, or is gone. */
bool rust_helper_storage_is_cut_off(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;
	u16 command;

	if (!parent || !dev_is_pci(parent))
		return false;
	if (pci_read_config_word(to_pci_dev(parent), PCI_COMMAND, &command))
		return true;
	return PCI_POSSIBLE_ERROR(command) || !(command & PCI_COMMAND_MASTER);
}

/* The PCI function of a device of virtio PCI: behind vDPA there may be a function, too. */
static struct pci_dev *storage_pci(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;

	if (!parent || !dev_is_pci(parent) || !parent->driver ||
	    strcmp(parent->driver->name, "virtio-pci"))
		return NULL;
	return to_pci_dev(parent);
}

/* Whether the device takes interrupt vectors of the machine for its virtqueues. */
bool rust_helper_storage_has_vectors(struct virtio_device *vdev)
{
	return storage_pci(vdev);
}

/* How many it has. */
unsigned int rust_helper_storage_count_vectors(struct virtio_device *vdev)
{
	struct pci_dev *pdev = storage_pci(vdev);
	unsigned int n = 0;

	if (pdev && pdev->msix_enabled)
		while (pci_irq_vector(pdev, n) > 0)
			n++;
	return n;
}

/*
 * Whether find_vqs() has to do with the device's line. It writes to bits beside this one, as it
 * enables MSI-X, so nobody else may do so meanwhile anyway. Returns what it was.
 */
bool rust_helper_storage_forbid_msi(struct virtio_device *vdev, bool forbid)
{
	struct pci_dev *pdev = storage_pci(vdev);
	bool before = false;

	if (pdev) {
		before = pdev->no_msi;
		pdev->no_msi = forbid;
	}
	return before;
}

/* How many interrupt vectors the machine has; 0 if there are enough for whatever is plugged in. */
unsigned int rust_helper_storage_machine_vectors(void)
{
#ifdef CONFIG_X86
	return num_online_cpus() * (FIRST_SYSTEM_VECTOR - FIRST_EXTERNAL_VECTOR);
#else
	return 0;
#endif
}

unsigned int rust_helper_storage_num_online_cpus(void)
{
	return num_online_cpus();
}

unsigned long rust_helper_storage_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void rust_helper_storage_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}
