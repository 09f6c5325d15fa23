/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the virtqueues, and of what drivers decide. Each module has its own, under its own
 * name (virtio_blk:vq_issue); drivers that are built in share those of virtio_storage. `device` is
 * the number in the device's name (3 is virtio3), which perf and BPF read more easily than a
 * string; `token` tells commands in flight apart, `op` is the operation: REQ_OP_* of the block
 * layer, or the first byte of a SCSI CDB.
 */
#undef TRACE_SYSTEM
#ifdef MODULE
#define TRACE_SYSTEM __KBUILD_MODNAME
#else
#define TRACE_SYSTEM virtio_storage
#endif

#if !defined(_STORAGE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _STORAGE_TRACE_H

#include <linux/tracepoint.h>
#include <linux/virtio.h>

TRACE_EVENT(vq_issue,
	TP_PROTO(struct virtqueue *vq, const void *token, unsigned int op),
	TP_ARGS(vq, token, op),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
		__field(const void *, token)
		__field(unsigned int, op)
		__field(unsigned int, num_free)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
		__entry->token = token;
		__entry->op = op;
		__entry->num_free = vq->num_free;
	),
	TP_printk("virtio%u queue=%u token=%p op=0x%x num_free=%u", __entry->device, __entry->queue,
		  __entry->token, __entry->op, __entry->num_free)
);

TRACE_EVENT(vq_complete,
	TP_PROTO(struct virtqueue *vq, const void *token, unsigned int op, unsigned int used),
	TP_ARGS(vq, token, op, used),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
		__field(const void *, token)
		__field(unsigned int, op)
		__field(unsigned int, used)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
		__entry->token = token;
		__entry->op = op;
		__entry->used = used;
	),
	TP_printk("virtio%u queue=%u token=%p op=0x%x used=%u", __entry->device, __entry->queue,
		  __entry->token, __entry->op, __entry->used)
);

DECLARE_EVENT_CLASS(vq_class,
	TP_PROTO(struct virtqueue *vq),
	TP_ARGS(vq),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
	),
	TP_printk("virtio%u queue=%u", __entry->device, __entry->queue)
);

/* The device is notified: an exit to the host. */
DEFINE_EVENT(vq_class, vq_notify, TP_PROTO(struct virtqueue *vq), TP_ARGS(vq));

/* The device interrupts. */
DEFINE_EVENT(vq_class, vq_interrupt, TP_PROTO(struct virtqueue *vq), TP_ARGS(vq));

/* The ring took no more: the command waits in the driver, or in the block layer. */
TRACE_EVENT(vq_refused,
	TP_PROTO(struct virtqueue *vq, unsigned int op),
	TP_ARGS(vq, op),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
		__field(unsigned int, op)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
		__entry->op = op;
	),
	TP_printk("virtio%u queue=%u op=0x%x", __entry->device, __entry->queue, __entry->op)
);

/* A bio waits in the driver's own line, which is that long with it: all commands are in use. */
TRACE_EVENT(vq_line,
	TP_PROTO(struct virtqueue *vq, unsigned int op, unsigned int waiting),
	TP_ARGS(vq, op, waiting),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
		__field(unsigned int, op)
		__field(unsigned int, waiting)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
		__entry->op = op;
		__entry->waiting = waiting;
	),
	TP_printk("virtio%u queue=%u op=0x%x waiting=%u", __entry->device, __entry->queue,
		  __entry->op, __entry->waiting)
);

/* The device is reset, and its virtqueues are taken from it. */
TRACE_EVENT(vq_reset,
	TP_PROTO(struct virtqueue *vq, unsigned int in_flight),
	TP_ARGS(vq, in_flight),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__field(unsigned int, queue)
		__field(unsigned int, in_flight)
	),
	TP_fast_assign(
		__entry->device = vq->vdev->index;
		__entry->queue = vq->index;
		__entry->in_flight = in_flight;
	),
	TP_printk("virtio%u queue=%u in_flight=%u", __entry->device, __entry->queue,
		  __entry->in_flight)
);

/*
 * A driver chose the path of a disk's I/O, and why: what it measured, if it did, is a count and a
 * time in microseconds.
 */
TRACE_EVENT(decision,
	TP_PROTO(struct virtio_device *vdev, const char *disk, const char *path,
		 const char *reason, unsigned int count, unsigned int us),
	TP_ARGS(vdev, disk, path, reason, count, us),
	TP_STRUCT__entry(
		__field(unsigned int, device)
		__string(disk, disk)
		__string(path, path)
		__string(reason, reason)
		__field(unsigned int, count)
		__field(unsigned int, us)
	),
	TP_fast_assign(
		__entry->device = vdev->index;
		__assign_str(disk);
		__assign_str(path);
		__assign_str(reason);
		__entry->count = count;
		__entry->us = us;
	),
	TP_printk("virtio%u disk=%s path=%s reason=%s count=%u us=%u", __entry->device,
		  __get_str(disk), __get_str(path), __get_str(reason), __entry->count, __entry->us)
);

#endif

/* This part must be outside protection. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
