// SPDX-License-Identifier: GPL-2.0

//! Probe: from a virtio device to a disk.

use crate::{
    bio_path::{
        BioPath,
        BioQueue, //
    },
    disk::{
        self,
        BoundDisk,
        Path,
        Shared, //
    },
    limits::{
        Config,
        Limits,
        Topology, //
    },
    names::{
        self,
        DiskIndex,
        DiskName, //
    },
    params,
    recovery::Recovery,
    request_path::{
        self,
        RequestPath,
        RequestQueue, //
    },
    MAJOR,
};
use core::mem::offset_of;
use kernel::{
    device::Bound,
    module::this_module,
    prelude::*,
    str::CString,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};
use storage::{
    bindings::{
        self,
        virtio_blk_config,
        virtio_blk_config_virtio_blk_geometry as virtio_blk_geometry, //
    },
    block::{
        gen_disk::{
            GenDisk,
            GenDiskBuilder,
            Geometry, //
        },
        limits::LimitsBuilder,
        mq::TagSet,
    },
    cpu_map::{
        num_possible_queues,
        CpuMap, //
    },
    virtio::{
        queue::{
            Handler,
            Queue, //
        },
        queues::Builder,
        Device, //
    },
};

/// Makes the disk of a device and shows it to the system.
pub(crate) fn probe(dev: &Device<Bound>) -> Result<Arc<BoundDisk>> {
    if !dev.has_config() {
        dev_err!(dev, "the transport gives no access to the configuration\n");
        return Err(EINVAL);
    }

    let index = DiskIndex::take().ok_or(ENOSPC)?;
    let recovery = Recovery::new(dev.binding())?;
    let nr_queues = nr_queues(dev)?;
    let little_endian = dev.is_little_endian();
    let strict = dev.has_feature(bindings::VIRTIO_F_VERSION_1);

    let new_shared = |path| {
        Arc::new(
            Shared {
                index,
                recovery: recovery.clone(),
                path,
                little_endian,
                geometry: geometry(dev)?,
                config_wce: dev.has_feature(bindings::VIRTIO_BLK_F_CONFIG_WCE),
            },
            GFP_KERNEL,
        )
        .map_err(Error::from)
    };

    let disk = match params::USE_BIO.get() {
        params::UseBio::No => {
            let queues = find_queues(dev, nr_queues, |queues: &mut KVec<_>| {
                let handler = RequestQueue {
                    little_endian,
                    strict,
                    recovery: recovery.clone(),
                };
                queues.push(new_queue(Ok(handler))?, GFP_KERNEL)?;
                Ok(())
            })?;
            let (config, limits) = read_limits(dev, ring_size(&queues))?;
            let depth = queue_depth(dev, config.ring_size);
            let set = Arc::new(
                request_path::Queues {
                    dev: dev.into(),
                    queues,
                },
                GFP_KERNEL,
            )?;
            let tag_set = TagSet::<RequestPath>::new(nr_queues, depth, set.clone());
            let tag_set = Arc::pin_init(tag_set, GFP_KERNEL)?;
            let shared = new_shared(Path::Request(set))?;
            let gen_disk = disk_builder(dev, &config, &limits, &shared)?.build_mq(
                fmt!("{}", DiskName(shared.index.get())),
                this_module::<crate::Module>(),
                tag_set,
                shared.clone(),
            );

            BoundDisk::new(refused(dev, gen_disk)?, shared)?
        }
        params::UseBio::Yes => {
            let queues = find_queues(dev, nr_queues, |queues: &mut KVec<_>| {
                let handler = BioQueue::new(little_endian, strict, recovery.clone());
                queues.push(new_queue(handler)?, GFP_KERNEL)?;
                Ok(())
            })?;
            let (config, limits) = read_limits(dev, ring_size(&queues))?;
            let depth = queue_depth(dev, config.ring_size);
            for queue in &queues {
                // More commands than descriptors would only wait.
                BioQueue::allocate(queue, config.ring_size.min(depth as usize))?;
            }
            let path = Arc::new(
                BioPath {
                    queues,
                    map: CpuMap::new(dev.as_ref(), nr_queues)?,
                },
                GFP_KERNEL,
            )?;
            let shared = new_shared(Path::Bio(path))?;
            let gen_disk = disk_builder(dev, &config, &limits, &shared)?.build_bio(
                fmt!("{}", DiskName(shared.index.get())),
                this_module::<crate::Module>(),
                shared.clone(),
            );

            BoundDisk::new(refused(dev, gen_disk)?, shared)?
        }
    };

    disk.announce(dev, disk.gen_disk.capacity(), "");
    dev.ready();
    disk.gen_disk.add(Some(dev.as_ref()))?;
    Ok(disk)
}

/// How many queues to use.
fn nr_queues(dev: &Device<Bound>) -> Result<u32> {
    let offered = dev
        .read_config_feature::<u16>(
            bindings::VIRTIO_BLK_F_MQ,
            offset_of!(virtio_blk_config, num_queues),
        )?
        .unwrap_or(1);

    if offered == 0 {
        dev_err!(dev, "MQ advertised but zero queues reported\n");
        return Err(EINVAL);
    }
    let wanted = match params::NUM_REQUEST_QUEUES.get() {
        0 => offered.into(),
        limit => limit.min(offered.into()),
    };
    let nr_queues = num_possible_queues(wanted);

    dev_info!(dev, "{}/0/0 default/read/poll queues\n", nr_queues);
    Ok(nr_queues)
}

fn new_queue<H>(handler: impl PinInit<H, Error>) -> Result<Arc<Queue<H>>>
where
    H: Handler,
    H::State: Default,
{
    Arc::pin_init(Queue::new(handler, H::State::default()), GFP_KERNEL)
}

/// Makes `n` queues by `make` and finds their virtqueues.
fn find_queues<H: Handler>(
    dev: &Device<Bound>,
    n: u32,
    make: impl Fn(&mut KVec<Arc<Queue<H>>>) -> Result,
) -> Result<KVec<Arc<Queue<H>>>> {
    let mut queues = KVec::new();
    let mut wanted = Builder::new();

    for _ in 0..n {
        make(&mut queues)?;
    }
    for (i, queue) in queues.iter().enumerate() {
        wanted.add(CString::try_from_fmt(fmt!("req.{i}"))?, queue.clone())?;
    }
    dev.find_queues(wanted)?;
    Ok(queues)
}

/// The size of the smallest ring.
fn ring_size<H: Handler>(queues: &KVec<Arc<Queue<H>>>) -> usize {
    queues
        .iter()
        .map(|queue| queue.lock().ring.size())
        .min()
        .unwrap_or(0)
}

/// How many commands a queue may have in flight, as in the C driver.
fn queue_depth(dev: &Device<Bound>, ring_size: usize) -> u32 {
    let indirect = dev.has_feature(bindings::VIRTIO_RING_F_INDIRECT_DESC);
    // Without indirect descriptors a command takes two at least.
    let fill = if indirect { ring_size } else { ring_size / 2 };

    match params::QUEUE_DEPTH.get() {
        0 => fill as u32,
        depth => depth,
    }
}

/// Reads what the device says about itself, and checks it.
fn read_limits(dev: &Device<Bound>, ring_size: usize) -> Result<(Config, Limits)> {
    let topology = if dev.has_feature(bindings::VIRTIO_BLK_F_TOPOLOGY) {
        Some(Topology {
            physical_block_exp: dev
                .read_config(offset_of!(virtio_blk_config, physical_block_exp))?,
            alignment_offset: dev.read_config(offset_of!(virtio_blk_config, alignment_offset))?,
            min_io_size: dev.read_config(offset_of!(virtio_blk_config, min_io_size))?,
            opt_io_size: dev.read_config(offset_of!(virtio_blk_config, opt_io_size))?,
        })
    } else {
        None
    };
    let config = Config {
        capacity: dev.read_config(offset_of!(virtio_blk_config, capacity))?,
        seg_max: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_SEG_MAX,
            offset_of!(virtio_blk_config, seg_max),
        )?,
        size_max: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_SIZE_MAX,
            offset_of!(virtio_blk_config, size_max),
        )?,
        blk_size: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_BLK_SIZE,
            offset_of!(virtio_blk_config, blk_size),
        )?,
        topology,
        max_dma_size: dev.max_dma_size(),
        ring_size,
    };

    let limits = config.limits().map_err(|refusal| {
        dev_err!(dev, "{}\n", refusal);
        EINVAL
    })?;
    Ok((config, limits))
}

/// The geometry that the host gives the disk, if it does.
fn geometry(dev: &Device<Bound>) -> Result<Option<Geometry>> {
    const AT: usize = offset_of!(virtio_blk_config, geometry);

    if !dev.has_feature(bindings::VIRTIO_BLK_F_GEOMETRY) {
        return Ok(None);
    }
    Ok(Some(Geometry {
        cylinders: dev.read_config(AT + offset_of!(virtio_blk_geometry, cylinders))?,
        heads: dev.read_config(AT + offset_of!(virtio_blk_geometry, heads))?,
        sectors: dev.read_config(AT + offset_of!(virtio_blk_geometry, sectors))?,
    }))
}

/// A builder of the disk, in the same way for both modes.
fn disk_builder(
    dev: &Device<Bound>,
    config: &Config,
    limits: &Limits,
    shared: &Shared,
) -> Result<GenDiskBuilder> {
    let queue_limits = LimitsBuilder::new()
        .rotational(true)
        .write_cache(disk::is_writeback(dev)?)
        .max_segments(limits.max_segments)
        .max_segment_size(limits.max_segment_size)
        .max_hw_sectors(u32::MAX)
        .logical_block_size(limits.logical_block_size)
        .physical_block_size(limits.physical_block_size)
        .alignment_offset(limits.alignment_offset)
        .io_min(limits.io_min)
        .io_opt(limits.io_opt);

    Ok(GenDiskBuilder::new(queue_limits, config.capacity)
        .device_numbers(
            MAJOR.load(Relaxed),
            names::first_minor(shared.index.get()),
            names::MINORS,
        )
        .read_only(dev.has_feature(bindings::VIRTIO_BLK_F_RO)))
}

/// Says so if the block layer refuses the disk.
fn refused<T: storage::block::gen_disk::Operations>(
    dev: &Device<Bound>,
    disk: Result<GenDisk<T>>,
) -> Result<GenDisk<T>> {
    disk.inspect_err(|e| dev_err!(dev, "the block layer refuses the disk: {:?}\n", e))
}
