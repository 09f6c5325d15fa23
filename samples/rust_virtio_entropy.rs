// SPDX-License-Identifier: GPL-2.0

//! Prints entropy of a virtio-rng device: the smallest virtio driver with a virtqueue.
//!
//! Unload the kernel's own driver (virtio_rng) first.

#![forbid(unsafe_code)]

use kernel::{
    device::Core,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};
use storage::{
    bindings,
    virtio::{
        self,
        buffer::WritableBuffer,
        queue::{
            Handler,
            Queue, //
        },
        queues::Builder,
        Device,
        DeviceId, //
    },
};

/// How much entropy to ask for, in bytes.
const LEN: usize = 16;

/// What to do when the device has filled a buffer.
struct Printer {
    dev: ARef<Device>,
}

impl Handler for Printer {
    type Token = WritableBuffer;
    type State = ();

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let guard = queue.lock();

        while let Some((buffer, used)) = guard.ring.get_buf() {
            let dev = &queue.handler().dev;
            dev_info!(dev, "entropy: {:02x?}\n", buffer.written(used));
        }
    }

    fn cancelled(_queue: &Queue<Self>, _buffer: WritableBuffer) {}
}

/// The driver.
struct Entropy;

storage::virtio_device_table!(ID_TABLE, [DeviceId::new(bindings::VIRTIO_ID_RNG)]);

#[vtable]
impl virtio::Driver for Entropy {
    type Data<'bound> = Arc<Queue<Printer>>;

    const ID_TABLE: virtio::IdTable = &ID_TABLE;
    const FEATURES: &'static [u32] = &[];

    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        start(dev)
    }
}

/// Finds the queue and asks for entropy once.
fn start(dev: &Device<kernel::device::Bound>) -> Result<Arc<Queue<Printer>>> {
    let printer = Printer { dev: dev.into() };
    let queue = Arc::pin_init(Queue::new(Ok(printer), ()), GFP_KERNEL)?;
    let mut wanted = Builder::new();

    wanted.add(CString::try_from_fmt(fmt!("input"))?, queue.clone())?;
    dev.find_vqs(wanted)?;
    dev.ready();

    let buffer = WritableBuffer::new(LEN)?;
    let guard = queue.lock();
    let added = guard.ring.add(buffer);
    Queue::kick(guard);
    added.map_err(|(_buffer, e)| e)?;
    Ok(queue)
}

kernel::module_driver!(<T>, virtio::Adapter<T>, {
    type: Entropy,
    name: "rust_virtio_entropy",
    authors: ["The virtio-storage-rs developers"],
    description: "Sample: a virtio driver that prints entropy",
    license: "GPL",
});
