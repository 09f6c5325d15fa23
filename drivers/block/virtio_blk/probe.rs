// SPDX-License-Identifier: GPL-2.0

//! Probe: from a virtio device to a disk.

use crate::{
    bio_path::BioPath,
    bio_queue::BioQueue,
    choice::Path,
    counters::Counters,
    disk::{
        self,
        AnyDisk,
        BioDisk,
        BlkDisk,
        RequestDisk,
        Shared, //
    },
    gate::Gate,
    limits::{
        Config,
        Discard,
        Limits,
        Topology,
        Transport,
        Zoned, //
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
    seat::{
        BoundDisk,
        Shown, //
    },
    wire,
    zones::ZoneMap,
    MAJOR,
    VECTORS,
    WORKQUEUE, //
};
use kernel::{
    device::Bound,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};
use storage::{
    bindings,
    block::{
        gen_disk::{
            GenDiskBuilder,
            Geometry,
            NewDisk, //
        },
        limits::LimitsBuilder,
        mq::{
            QueueCounts,
            TagSet, //
        },
        plug::Plugged,
    },
    compat::{
        this_module,
        EOPNOTSUPP, //
    },
    config_field,
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

/// Bytes of a report of zones at most: enough for 4,095 zones at a time.
const MAX_REPORT: usize = 256 << 10;

/// Takes a seat for the disk of a device, and begins to make it.
pub(crate) fn probe(dev: &Device<Bound>) -> Result<Arc<BoundDisk>> {
    if !dev.has_config() {
        dev_err!(dev, "the transport gives no access to the configuration\n");
        return Err(EINVAL);
    }

    let index = DiskIndex::take().ok_or(ENOSPC)?;
    dev.set_label(CString::try_from_fmt(fmt!("{}", DiskName(index.get())))?);
    let seat = BoundDisk::new(dev, index)?;
    seat.recovery.set_seat(Some(seat.clone()));
    seat.begin(dev)
        .inspect_err(|_| seat.recovery.set_seat(None))?;
    Ok(seat)
}

/// A disk of either kind that nobody sees yet.
pub(crate) enum NewAny {
    /// In request mode.
    Request(NewDisk<RequestDisk>),
    /// In bio mode.
    Bio(NewDisk<BioDisk>),
}

/// What [`make`] made. The device is ready.
pub(crate) struct Made {
    pub(crate) disk: NewAny,
    counters: Counters,
    counts: QueueCounts,
}

impl Made {
    /// The name of the disk.
    pub(crate) fn name(&self) -> &CStr {
        match &self.disk {
            NewAny::Request(disk) => disk.name(),
            NewAny::Bio(disk) => disk.name(),
        }
    }

    /// Shows the disk to the system.
    pub(crate) fn add(self, dev: &Device<Bound>) -> Result<Shown> {
        dev_info!(
            dev,
            "{}/0/{} default/read/poll queues\n",
            self.counts.default,
            self.counts.poll
        );
        let disk = match self.disk {
            NewAny::Request(disk) => {
                disk::announce(&disk, dev, disk.capacity(), "");
                AnyDisk::Request(disk.add_disk(Some(dev.as_ref()))?)
            }
            NewAny::Bio(disk) => {
                disk::announce(&disk, dev, disk.capacity(), "");
                AnyDisk::Bio(disk.add_disk(Some(dev.as_ref()))?)
            }
        };
        Ok(Shown {
            _counters: self.counters.show(disk.name()).ok(),
            disk: Arc::new(disk, GFP_KERNEL)?,
        })
    }
}

/// Makes the disk of a device that has no queues yet, and makes the device ready. `again`, if it
/// had a disk already, which it has forgotten.
pub(crate) fn make(
    dev: &Device<Bound>,
    seat: &Arc<BoundDisk>,
    config: &Config,
    path: Path,
    again: bool,
) -> Result<Made> {
    let number = seat.index.get();
    let recovery = seat.recovery.clone();
    let counts = queue_counts(dev)?;
    let zones = Arc::new(config.zone_map(), GFP_KERNEL)?;
    let little_endian = dev.is_little_endian();
    let strict = dev.has_feature(bindings::VIRTIO_F_VERSION_1);
    let geometry = geometry(dev)?;
    let has_lifetime = dev.has_feature(wire::VIRTIO_BLK_F_LIFETIME);
    let has_vectors = dev.vectors().is_some();
    // In segments of a page, whatever else the device takes.
    let report_size =
        |limits: &Limits| (usize::from(limits.max_segments) * PAGE_SIZE).min(MAX_REPORT);

    match path {
        Path::Request => {
            let queues = find_vqs(dev, Builder::new(), counts, || {
                let handler = RequestQueue {
                    little_endian,
                    strict,
                    recovery: recovery.clone(),
                    zones: zones.clone(),
                };
                new_queue(Ok(handler))
            })?;
            let ring_size = ring_size(&queues);
            let limits = limits(dev, config, ring_size)?;
            let depth = queue_depth(dev, ring_size);
            let set = Arc::new(
                request_path::Queues {
                    map: dev.interrupt_map(0, counts.default)?,
                    counts,
                    queues,
                },
                GFP_KERNEL,
            )?;
            let tag_set = TagSet::<RequestPath>::new(depth, counts, set.clone());
            let tag_set = Arc::pin_init(tag_set, GFP_KERNEL)?;
            let shared = Arc::new(
                Shared {
                    seat: seat.clone(),
                    recovery: recovery.clone(),
                    path: set.clone(),
                    zones: zones.clone(),
                    report_size: report_size(&limits),
                    geometry,
                    has_lifetime,
                    has_vectors,
                },
                GFP_KERNEL,
            )?;
            // blk-mq knows by itself whether there are queues to be polled.
            let disk = disk_builder(dev, &recovery, config, &limits, number, false)?.build_mq(
                fmt!("{}", DiskName(number)),
                this_module::<crate::Module>(),
                &WORKQUEUE,
                tag_set,
                shared,
            );
            Ok(Made {
                disk: NewAny::Request(prepare(dev, seat, disk, &zones, again)?),
                counters: Counters::of_requests(set, recovery),
                counts,
            })
        }
        Path::Bio => {
            let map = Arc::new(CpuMap::new(0, counts.default)?, GFP_KERNEL)?;
            let gate = Arc::pin_init(Gate::new(), GFP_KERNEL)?;
            let adds_in_interrupts = dev.adds_in_interrupts();
            let queues = find_vqs(dev, Builder::mapped(map.clone()), counts, || {
                new_queue(BioQueue::new(
                    little_endian,
                    strict,
                    adds_in_interrupts,
                    recovery.clone(),
                    gate.clone(),
                ))
            })?;
            let ring_size = ring_size(&queues);
            let limits = limits(dev, config, ring_size)?;
            let depth = queue_depth(dev, ring_size);
            let poll_map = match counts.poll {
                0 => None,
                poll => Some(CpuMap::new(counts.default, poll)?),
            };
            for (i, queue) in queues.iter().enumerate() {
                let polled = poll_map.as_ref().filter(|polled| i >= polled.first());
                let node = polled.unwrap_or(&map).node_of(i);
                // More commands than descriptors would only wait.
                BioQueue::allocate(queue, ring_size.min(depth as usize), node)?;
            }
            let path = BioPath {
                queues,
                map,
                poll_map,
                gate,
            };
            let path = Arc::new(Plugged::new(path, &WORKQUEUE)?, GFP_KERNEL)?;
            let counters = Counters::of_bios(path.clone(), recovery.clone());
            let shared = Arc::new(
                Shared {
                    seat: seat.clone(),
                    recovery: recovery.clone(),
                    path,
                    zones: zones.clone(),
                    report_size: report_size(&limits),
                    geometry,
                    has_lifetime,
                    has_vectors,
                },
                GFP_KERNEL,
            )?;
            let builder = disk_builder(dev, &recovery, config, &limits, number, counts.poll > 0)?;
            let disk = builder.build_bio(
                fmt!("{}", DiskName(number)),
                this_module::<crate::Module>(),
                &WORKQUEUE,
                shared,
            );
            Ok(Made {
                disk: NewAny::Bio(prepare(dev, seat, disk, &zones, again)?),
                counters,
                counts,
            })
        }
    }
}

/// Makes the device of a new disk ready; or says that the block layer refuses the disk.
fn prepare<T: BlkDisk>(
    dev: &Device<Bound>,
    seat: &BoundDisk,
    disk: Result<NewDisk<T>>,
    zones: &ZoneMap,
    again: bool,
) -> Result<NewDisk<T>> {
    let mut disk =
        disk.inspect_err(|e| dev_err!(dev, "the block layer refuses the disk: {:?}\n", e))?;

    if again {
        seat.configure(dev)?;
        // After a probe, and when a device is back, virtio core declares one ready that is not: it
        // may have looked since our reset, when there was no queue.
        if u32::from(dev.status()) & bindings::VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            return Err(EBUSY);
        }
    }
    dev.ready();
    if zones.zone_sectors > 0 {
        disk.revalidate_zones()?;
    }
    Ok(disk)
}

/// How many queues to use.
fn queue_counts(dev: &Device<Bound>) -> Result<QueueCounts> {
    let offered = dev
        .read_config_feature::<u16>(
            bindings::VIRTIO_BLK_F_MQ,
            config_field!(virtio_blk_config, num_queues),
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
    let all = num_possible_queues(wanted);
    let poll = params::POLL_QUEUES.get().min(all - 1);
    Ok(QueueCounts {
        default: all - poll,
        poll,
    })
}

fn new_queue<H>(handler: impl PinInit<H, Error>) -> Result<Arc<Queue<H>>>
where
    H: Handler,
    H::State: Default,
{
    Arc::pin_init(Queue::new(handler, H::State::default()), GFP_KERNEL)
}

/// Makes the queues by `make` and finds their virtqueues.
fn find_vqs<H: Handler>(
    dev: &Device<Bound>,
    mut wanted: Builder,
    counts: QueueCounts,
    make: impl Fn() -> Result<Arc<Queue<H>>>,
) -> Result<KVec<Arc<Queue<H>>>> {
    let mut queues = KVec::new();

    for i in 0..counts.all() {
        let queue = make()?;

        queues.push(queue.clone(), GFP_KERNEL)?;
        if i < counts.default {
            wanted.add(CString::try_from_fmt(fmt!("req.{i}"))?, queue)?;
        } else {
            wanted.add_polled(CString::try_from_fmt(fmt!("req_poll.{i}"))?, queue)?;
        }
    }
    wanted.within(&VECTORS);
    dev.find_vqs(wanted)?;
    Ok(queues)
}

/// The size of the smallest ring.
fn ring_size<H: Handler>(queues: &KVec<Arc<Queue<H>>>) -> usize {
    queues
        .iter()
        .map(|queue| queue.lock().ring.vring_size())
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

/// Derives the limits of the disk, or says why there can be none.
fn limits(dev: &Device<Bound>, config: &Config, ring_size: usize) -> Result<Limits> {
    let transport = Transport {
        ring_size,
        max_dma_size: dev.max_dma_size(),
    };

    let limits = config.limits(transport).map_err(|refusal| {
        dev_err!(dev, "{}\n", refusal);
        EINVAL
    })?;
    if limits.zones.is_some() && !cfg!(CONFIG_BLK_DEV_ZONED) {
        dev_err!(
            dev,
            "this kernel has no zoned disks (CONFIG_BLK_DEV_ZONED)\n"
        );
        return Err(EOPNOTSUPP);
    }
    if let Some((zoned, zones)) = config.zoned.zip(limits.zones) {
        let said = (zoned.max_open_zones, zoned.max_active_zones);

        if said != (zones.max_open, zones.max_active) {
            dev_info!(
                dev,
                "{} open, {} active zones at most, it says: no limit, where it has no more or \
                 that is beyond belief\n",
                said.0,
                said.1
            );
        }
    }
    Ok(limits)
}

/// Reads what the device says about itself.
pub(crate) fn read_config(dev: &Device<Bound>) -> Result<Config> {
    let topology = if dev.has_feature(bindings::VIRTIO_BLK_F_TOPOLOGY) {
        Some(Topology {
            physical_block_exp: dev
                .read_config(config_field!(virtio_blk_config, physical_block_exp))?,
            alignment_offset: dev
                .read_config(config_field!(virtio_blk_config, alignment_offset))?,
            min_io_size: dev.read_config(config_field!(virtio_blk_config, min_io_size))?,
            opt_io_size: dev.read_config(config_field!(virtio_blk_config, opt_io_size))?,
        })
    } else {
        None
    };
    let discard = if dev.has_feature(bindings::VIRTIO_BLK_F_DISCARD) {
        Some(Discard {
            max_sectors: dev.read_config(config_field!(virtio_blk_config, max_discard_sectors))?,
            max_seg: dev.read_config(config_field!(virtio_blk_config, max_discard_seg))?,
            alignment: dev
                .read_config(config_field!(virtio_blk_config, discard_sector_alignment))?,
        })
    } else {
        None
    };
    let secure_erase = if dev.has_feature(bindings::VIRTIO_BLK_F_SECURE_ERASE) {
        Some(Discard {
            max_sectors: dev
                .read_config(config_field!(virtio_blk_config, max_secure_erase_sectors))?,
            max_seg: dev.read_config(config_field!(virtio_blk_config, max_secure_erase_seg))?,
            alignment: dev.read_config(config_field!(
                virtio_blk_config,
                secure_erase_sector_alignment
            ))?,
        })
    } else {
        None
    };
    Ok(Config {
        capacity: dev.read_config(config_field!(virtio_blk_config, capacity))?,
        seg_max: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_SEG_MAX,
            config_field!(virtio_blk_config, seg_max),
        )?,
        size_max: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_SIZE_MAX,
            config_field!(virtio_blk_config, size_max),
        )?,
        blk_size: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_BLK_SIZE,
            config_field!(virtio_blk_config, blk_size),
        )?,
        topology,
        discard,
        write_zeroes: dev.read_config_feature(
            bindings::VIRTIO_BLK_F_WRITE_ZEROES,
            config_field!(virtio_blk_config, max_write_zeroes_sectors),
        )?,
        secure_erase,
        zoned: zoned(dev)?,
    })
}

/// What the device says about zones.
fn zoned(dev: &Device<Bound>) -> Result<Option<Zoned>> {
    if !dev.has_feature(bindings::VIRTIO_BLK_F_ZONED) {
        return Ok(None);
    }
    Ok(Some(Zoned {
        zone_sectors: dev.read_config(config_field!(virtio_blk_config, zoned.zone_sectors))?,
        max_open_zones: dev.read_config(config_field!(virtio_blk_config, zoned.max_open_zones))?,
        max_active_zones: dev
            .read_config(config_field!(virtio_blk_config, zoned.max_active_zones))?,
        max_append_sectors: dev
            .read_config(config_field!(virtio_blk_config, zoned.max_append_sectors))?,
        write_granularity: dev
            .read_config(config_field!(virtio_blk_config, zoned.write_granularity))?,
        model: dev.read_config(config_field!(virtio_blk_config, zoned.model))?,
    }))
}

/// The geometry that the host gives the disk, if it does.
fn geometry(dev: &Device<Bound>) -> Result<Option<Geometry>> {
    if !dev.has_feature(bindings::VIRTIO_BLK_F_GEOMETRY) {
        return Ok(None);
    }
    Ok(Some(Geometry {
        cylinders: dev.read_config(config_field!(virtio_blk_config, geometry.cylinders))?,
        heads: dev.read_config(config_field!(virtio_blk_config, geometry.heads))?,
        sectors: dev.read_config(config_field!(virtio_blk_config, geometry.sectors))?,
    }))
}

/// A builder of the disk, in the same way for both modes.
fn disk_builder(
    dev: &Device<Bound>,
    recovery: &Recovery,
    config: &Config,
    limits: &Limits,
    number: u32,
    poll: bool,
) -> Result<GenDiskBuilder> {
    let mut queue_limits = LimitsBuilder::new()
        .rotational(true)
        .write_cache(recovery.cache.is_writeback())
        .max_segments(limits.max_segments)
        .max_segment_size(limits.max_segment_size)
        .max_hw_sectors(u32::MAX)
        .logical_block_size(limits.logical_block_size)
        .physical_block_size(limits.physical_block_size)
        .alignment_offset(limits.alignment_offset)
        .io_min(limits.io_min)
        .io_opt(limits.io_opt)
        .discard(
            limits.max_discard_sectors,
            limits.max_discard_ranges,
            limits.discard_granularity,
        )
        .max_secure_erase_sectors(limits.max_secure_erase_sectors)
        .max_write_zeroes_sectors(limits.max_write_zeroes_sectors)
        .poll(poll);
    if let Some(zones) = limits.zones {
        queue_limits = queue_limits.zoned(zones);
    }

    Ok(GenDiskBuilder::new(queue_limits, config.capacity)
        .device_numbers(
            MAJOR.load(Relaxed),
            names::first_minor(number),
            names::MINORS,
        )
        .read_only(dev.has_feature(bindings::VIRTIO_BLK_F_RO)))
}
