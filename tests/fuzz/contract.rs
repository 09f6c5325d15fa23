// SPDX-License-Identifier: GPL-2.0

//! What a driver may try in safe code, and the library refuses when it runs; what the compiler
//! refuses is in tests/compile-fail. Each of these once reached undefined behaviour.

use crate::world;
use kernel::{
    new_spinlock,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        ArcBorrow,
        SpinLock, //
    },
};
use storage::{
    block::{
        gen_disk::{
            self,
            Disk,
            GenDiskBuilder,
            Geometry,
            NewDisk,
            Requests, //
        },
        limits::{
            LimitsBuilder,
            Zones, //
        },
        mq::{
            operations::{
                Operations,
                QueueCounts,
                QueueMap,
                Refused, //
            },
            request::begin_in,
            tag_set::TagSet,
            IdleRequest,
            Request, //
        },
        zoned::{
            Zone,
            ZoneCondition,
            ZoneReport,
            ZoneType, //
        },
        Status,
    },
    virtio::{
        buffer::WritableBuffer,
        frame::Envelope,
        queue::{
            Handler,
            Queue, //
        },
        queues::Builder, //
    },
    work::ModuleWorkqueue,
};

struct Nobody;

impl Handler for Nobody {
    type Token = WritableBuffer;
    type State = ();

    fn used(_queue: ArcBorrow<'_, Queue<Self>>) {}

    fn cancelled(_queue: &Queue<Self>, _buffer: WritableBuffer) {}
}

#[vtable]
impl Operations for Nobody {
    type RequestData = Envelope<u8, u8>;
    type HwData = KBox<u32>;
    type TagSetData = KBox<u32>;

    fn init_hctx(_tag_set: &u32, _index: u32) -> Result<KBox<u32>> {
        Ok(KBox::new(0, GFP_KERNEL)?)
    }

    fn map_queues(_tag_set: &u32, _map: QueueMap<'_>) {}

    fn queue_rq(_hw: &u32, _rq: IdleRequest<Self>, _is_last: bool) -> Result<(), Refused<Self>> {
        Ok(())
    }

    fn commit_rqs(_hw: &u32) {}

    fn timed_out(_hw: &u32) {}

    fn complete(_rq: Request<Self>) {}
}

/// Sectors of a zone.
const ZONE: u64 = 8;

/// A disk of two zones that becomes a thousand times as large while it reports them.
struct Growing;

#[vtable]
impl gen_disk::Operations for Growing {
    type Kind = Requests<Nobody>;
    type Data = KBox<u32>;

    fn report_zones(
        disk: &Disk<Self>,
        _sector: u64,
        _nr_zones: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result<u32> {
        for start in [0, ZONE] {
            report.add(Zone {
                start,
                len: ZONE,
                capacity: ZONE,
                write_pointer: start,
                kind: ZoneType::SequentialRequired,
                condition: ZoneCondition::Empty,
            })?;
        }
        disk.set_capacity(1000 * ZONE)?;
        Ok(report.count())
    }

    fn geometry(_disk: &Disk<Self>) -> Result<Geometry> {
        Err(ENOTTY)
    }
}

/// The sector of a request by which all end.
const LAST: u64 = 100;

/// What a queue of [`Keeper`] has.
#[pin_data]
struct Kept {
    #[pin]
    rq: SpinLock<Option<Request<Keeper>>>,
}

/// A driver that keeps each request, and refuses it when the next one comes.
struct Keeper;

#[vtable]
impl Operations for Keeper {
    type RequestData = ();
    type HwData = Arc<Kept>;
    type TagSetData = KBox<u32>;

    fn init_hctx(_tag_set: &u32, _index: u32) -> Result<Arc<Kept>> {
        Arc::pin_init(
            pin_init!(Kept {
                rq <- new_spinlock!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn map_queues(_tag_set: &u32, _map: QueueMap<'_>) {}

    fn queue_rq(
        hw: ArcBorrow<'_, Kept>,
        rq: IdleRequest<Self>,
        _is_last: bool,
    ) -> Result<(), Refused<Self>> {
        let rq = rq.start();

        if rq.sector() == LAST {
            let kept = hw.rq.lock().take();
            drop(kept);
            rq.end(Status::OK);
            return Ok(());
        }
        let kept = hw.rq.lock().replace(rq);
        kept.map_or(Ok(()), |kept| Err(kept.refuse(Status::RESOURCE)))
    }

    fn commit_rqs(_hw: ArcBorrow<'_, Kept>) {}

    fn timed_out(_hw: ArcBorrow<'_, Kept>) {}

    fn complete(_rq: Request<Self>) {}
}

/// A disk of it.
struct Keeping;

#[vtable]
impl gen_disk::Operations for Keeping {
    type Kind = Requests<Keeper>;
    type Data = KBox<u32>;

    fn geometry(_disk: &Disk<Self>) -> Result<Geometry> {
        Err(ENOTTY)
    }
}

/// The module's, of which there is one guard, see below.
static WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

/// Two guards of one workqueue: the second would destroy what the first did.
fn one_guard() -> Result {
    let guard = WORKQUEUE.create(c"contract")?;

    assert_eq!(WORKQUEUE.create(c"contract").err(), Some(EBUSY));
    // Its end would wait for a grace period, and so takes a task.
    core::mem::forget(guard);
    Ok(())
}

/// One queue in the sets of two devices: the end of one would free what the other writes to.
fn one_set() -> Result {
    let name = || CString::try_from_fmt(fmt!("contract"));
    let queue = Arc::pin_init(Queue::new(Ok(Nobody), ()), GFP_KERNEL)?;
    let (mut first, mut second) = (Builder::new(), Builder::new());

    first.add(name()?, queue.clone())?;
    assert_eq!(first.add(name()?, queue.clone()), Err(EBUSY));
    assert_eq!(second.add(name()?, queue.clone()), Err(EBUSY));
    assert_eq!(second.add_polled(name()?, queue.clone()), Err(EBUSY));
    drop(first);
    second.add(name()?, queue)
}

/// More queues than blk-mq counts, none that interrupts, or polled ones that nobody can poll: it
/// would look for requests beyond its arrays, or call what is not there.
fn queues_that_can_be() -> Result {
    const MANY: u32 = i32::MAX as u32;

    for (default, poll) in [
        (0, 0),
        (0, 1),
        (1, 1),
        (MANY, 1),
        (MANY + 1, 0),
        (u32::MAX, 1),
    ] {
        let counts = QueueCounts { default, poll };
        let set = TagSet::<Nobody>::new(1, counts, KBox::new(0, GFP_KERNEL)?);

        assert_eq!(
            Arc::pin_init(set, GFP_KERNEL).err(),
            Some(EINVAL),
            "{default} {poll}"
        );
    }
    Ok(())
}

/// Limits that any disk may have.
fn limits() -> LimitsBuilder {
    LimitsBuilder::new()
        .logical_block_size(512)
        .physical_block_size(512)
        .max_segments(1)
        .max_segment_size(4096)
        .max_hw_sectors(ZONE as u32)
        .discard(0, 1, 0)
}

/// A disk of one queue. In a task.
fn disk<T, M>(limits: LimitsBuilder) -> Result<NewDisk<T>>
where
    T: gen_disk::Operations<Kind = Requests<M>, Data = KBox<u32>>,
    M: Operations<TagSetData = KBox<u32>>,
{
    const MODULE: &ThisModule = &<crate::LocalModule as kernel::ModuleMetadata>::THIS_MODULE;
    let counts = QueueCounts {
        default: 1,
        poll: 0,
    };
    let set = TagSet::<M>::new(4, counts, KBox::new(0, GFP_KERNEL)?);

    GenDiskBuilder::new(limits, 2 * ZONE).build_mq::<T, M>(
        fmt!("contract"),
        MODULE,
        &WORKQUEUE,
        Arc::pin_init(set, GFP_KERNEL)?,
        KBox::new(0, GFP_KERNEL)?,
    )
}

/// Another request is refused than the one that came: blk-mq would have that, and the driver, too.
fn only_what_came_is_refused() -> Result {
    let disk = disk::<Keeping, Keeper>(limits())?;
    let first = begin_in(&disk, 0, 512)?;
    let second = begin_in(&disk, 0, 512)?;

    assert!(first.ended().is_some_and(|end| end.err() == Some(EIO)));
    assert!(second.ended().is_none());
    let last = begin_in(&disk, LAST, 512)?;
    assert!(second.ended().is_some_and(|end| end.err() == Some(EIO)));
    assert!(last.ended().is_some_and(|end| end.is_ok()));
    Ok(())
}

/// A zoned disk that grows while its zones are read: the block layer would take sectors beyond them
/// for an index of what it keeps of each.
fn zones_that_there_is_room_for() -> Result {
    let mut disk = disk::<Growing, Nobody>(limits().zoned(Zones {
        sectors: ZONE as u32,
        max_open: 0,
        max_active: 0,
        max_append_sectors: ZONE as u32,
        write_granularity: 512,
    }))?;

    disk.revalidate_zones()?;
    assert_eq!(disk.capacity(), 2 * ZONE);
    assert_eq!(disk.set_capacity(2 * ZONE + 1), Err(EINVAL));
    disk.set_capacity(ZONE)
}

/// A ring without a virtqueue, another queue's guard, a buffer without a byte: nothing is done.
fn nothing_to_do_with() -> Result {
    let queue = || Arc::pin_init(Queue::new(Ok(Nobody), ()), GFP_KERNEL);
    let (one, other) = (queue()?, queue()?);
    let buffer = WritableBuffer::new(8)?;
    let guard = one.lock();
    let refused = guard.ring.add(buffer);

    assert_eq!(refused.err().map(|(_, e)| e), Some(ENODEV));
    assert!(guard.ring.get_buf().is_none() && !guard.ring.is_broken() && guard.ring.enable_cb());
    assert_eq!((guard.ring.num_free(), guard.ring.vring_size()), (0, 0));
    guard.ring.disable_cb();
    guard.ring.trace_line(0, 0);
    other.took_all(&guard);
    assert!(other.may_have_used());
    assert!(Queue::kick(guard));
    assert_eq!(WritableBuffer::new(0).err(), Some(EINVAL));
    Ok(())
}

/// All of them are refused.
pub fn prove() {
    assert_eq!(
        one_guard()
            .and_then(|()| one_set())
            .and_then(|()| queues_that_can_be())
            .and_then(|()| nothing_to_do_with()),
        Ok(())
    );
    // Who makes a disk may sleep.
    world::spawn("who proves", || {
        assert_eq!(zones_that_there_is_room_for(), Ok(()));
        assert_eq!(only_what_came_is_refused(), Ok(()));
    });
    world::run_all();
    assert!(world::is_quiet());
}
