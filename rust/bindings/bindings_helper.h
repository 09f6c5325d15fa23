/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers whose items `kernel::bindings` lacks. Types that it has (struct device, struct request,
 * struct bio, ...) are not generated again but taken from there, see bindgen_parameters, so that
 * both crates speak of the same types.
 */
#include <linux/async.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/virtio.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_scsi.h>
#include <linux/workqueue.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>

#include "../helpers/helpers.h"
#include "../helpers/trace.h"

/* Of helpers/trace.h; the kernel's own header declares them only where they are made. */
void rust_do_trace_vq_issue(struct virtqueue *vq, const void *token, unsigned int op);
void rust_do_trace_vq_complete(struct virtqueue *vq, const void *token, unsigned int op,
			       unsigned int used);
void rust_do_trace_vq_notify(struct virtqueue *vq);
void rust_do_trace_vq_interrupt(struct virtqueue *vq);
void rust_do_trace_vq_refused(struct virtqueue *vq, unsigned int op);
void rust_do_trace_vq_line(struct virtqueue *vq, unsigned int op, unsigned int waiting);
void rust_do_trace_vq_reset(struct virtqueue *vq, unsigned int in_flight);
void rust_do_trace_decision(struct virtio_device *vdev, const char *disk, const char *path,
			    const char *reason, unsigned int count, unsigned int us);

/* Macros with casts, which bindgen cannot evaluate. */
const blk_status_t RUST_CONST_HELPER_BLK_STS_NOTSUPP = BLK_STS_NOTSUPP;
const blk_status_t RUST_CONST_HELPER_BLK_STS_TIMEOUT = BLK_STS_TIMEOUT;
const blk_status_t RUST_CONST_HELPER_BLK_STS_NOSPC = BLK_STS_NOSPC;
const blk_status_t RUST_CONST_HELPER_BLK_STS_RESOURCE = BLK_STS_RESOURCE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_IOERR = BLK_STS_IOERR;
const blk_status_t RUST_CONST_HELPER_BLK_STS_AGAIN = BLK_STS_AGAIN;
const blk_status_t RUST_CONST_HELPER_BLK_STS_DEV_RESOURCE = BLK_STS_DEV_RESOURCE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_TRANSPORT = BLK_STS_TRANSPORT;
const blk_status_t RUST_CONST_HELPER_BLK_STS_ZONE_OPEN_RESOURCE = BLK_STS_ZONE_OPEN_RESOURCE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_ZONE_ACTIVE_RESOURCE = BLK_STS_ZONE_ACTIVE_RESOURCE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_OFFLINE = BLK_STS_OFFLINE;

const blk_features_t RUST_CONST_HELPER_BLK_FEAT_WRITE_CACHE = BLK_FEAT_WRITE_CACHE;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_IO_STAT = BLK_FEAT_IO_STAT;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_NOWAIT = BLK_FEAT_NOWAIT;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_POLL = BLK_FEAT_POLL;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_ZONED = BLK_FEAT_ZONED;

/* To be sure that the types' parts, which come from two places, fit together. */
const size_t RUST_CONST_HELPER_SIZEOF_SCSI_CMND = sizeof(struct scsi_cmnd);
const size_t RUST_CONST_HELPER_SIZEOF_SCSI_DEVICE = sizeof(struct scsi_device);
const size_t RUST_CONST_HELPER_SIZEOF_SCSI_HOST =
	sizeof(*((struct scsi_device *)NULL)->host);
const size_t RUST_CONST_HELPER_SIZEOF_SCSI_HOST_TEMPLATE = sizeof(struct scsi_host_template);

const blist_flags_t RUST_CONST_HELPER_BLIST_TRY_VPD_PAGES = BLIST_TRY_VPD_PAGES;

/* How far the CPU keeps away from what a device writes, if they do not see each other's caches. */
#ifdef ARCH_HAS_DMA_MINALIGN
#define DMA_DISTANCE ARCH_DMA_MINALIGN
#else
#define DMA_DISTANCE 0
#endif
const size_t RUST_CONST_HELPER_DMA_DISTANCE = DMA_DISTANCE;
