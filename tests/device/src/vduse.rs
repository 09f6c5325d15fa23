// SPDX-License-Identifier: GPL-2.0

//! The front end for the kernel in which this runs: VDUSE, a vDPA device in user space.
//!
//! All features reach the driver here, but for two: the kernel insists on `access_platform` and
//! refuses `config_wce`. Data goes through a bounce buffer of the kernel's, which we map.

#[allow(unsafe_code)]
mod ioctl;

use crate::{
    control,
    engine::{
        Engine,
        Front,
        Memory,
        Ring,
        Vring, //
    },
    settings::Settings,
    wire,
};
use ioctl::{
    Device,
    Message,
    Region, //
};
use std::{
    collections::btree_map::{
        BTreeMap,
        Entry, //
    },
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        Mutex, //
    },
};
use vhost_user_backend::VringT;
use virtio_queue::QueueT;
use vm_memory::{
    mmap::MmapRegion,
    FileOffset,
    GuestAddress,
    GuestMemoryMmap,
    GuestRegionMmap, //
};
use vmm_sys_util::{
    epoll::{
        ControlOperation,
        Epoll,
        EpollEvent,
        EventSet, //
    },
    eventfd::{
        EventFd,
        EFD_NONBLOCK, //
    },
};

const DRIVER_OK: u8 = 4;
const PROT_READ: i32 = 1;
const PROT_WRITE: i32 = 2;
const MAP_SHARED: i32 = 1;

/// The address space as far as it is mapped.
struct Mappings {
    device: Arc<Device>,
    memory: Memory,
    /// None while the driver has reset the device: what it tears down then may come again at the same place,
    /// in other memory.
    regions: Mutex<Option<BTreeMap<u64, Arc<GuestRegionMmap>>>>,
}

impl Mappings {
    /// Maps what was not there the last time. The bounce buffer, which begins at address 0, comes
    /// into being only with the first I/O.
    fn refresh(&self) -> Result<(), String> {
        let mut regions = self.regions.lock().map_err(|e| e.to_string())?;
        // A late kick.
        let Some(regions) = &mut *regions else {
            return Ok(());
        };
        let mut next = Some(0);
        let known = regions.len();

        if regions.contains_key(&0) {
            return Ok(());
        }
        while let Some(start) = next {
            // An error means that there is no further region.
            let Ok(region) = self.device.region(start) else {
                break;
            };
            next = region.last.checked_add(1);
            if let Entry::Vacant(place) = regions.entry(region.start) {
                place.insert(Arc::new(map(region)?));
            }
        }
        if regions.len() > known {
            let all = GuestMemoryMmap::from_arc_regions(regions.values().cloned().collect());
            self.replace(all.map_err(|e| e.to_string())?)?;
        }
        Ok(())
    }

    /// Forgets what is mapped; `on` tells whether it may be mapped again.
    fn forget(&self, on: bool) -> Result<(), String> {
        *self.regions.lock().map_err(|e| e.to_string())? = on.then(BTreeMap::new);
        self.replace(GuestMemoryMmap::new())
    }

    fn replace(&self, memory: GuestMemoryMmap) -> Result<(), String> {
        self.memory
            .lock()
            .map_err(|e| e.to_string())?
            .replace(memory);
        Ok(())
    }
}

fn map(region: Region) -> Result<GuestRegionMmap, String> {
    let read = if region.readable { PROT_READ } else { 0 };
    let write = if region.writable { PROT_WRITE } else { 0 };
    let mapping = MmapRegion::build(
        Some(FileOffset::new(region.file, region.offset)),
        (region.last - region.start + 1) as usize,
        read | write,
        MAP_SHARED,
    );

    GuestRegionMmap::new(
        mapping.map_err(|e| format!("mapping {:#x}: {e}", region.start))?,
        GuestAddress(region.start),
    )
    .ok_or("a region at the end of the address space".into())
}

struct Kernel(Arc<Device>);

impl Front for Kernel {
    fn config_changed(&self, offset: usize, bytes: &[u8], tell: bool) -> Result<(), String> {
        self.0
            .set_config(offset, bytes, tell)
            .map_err(|e| e.to_string())
    }

    fn disconnect(&self) -> Result<(), String> {
        Err("VDUSE has no connection; use silence".into())
    }
}

struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    device: Arc<Device>,
    mappings: Arc<Mappings>,
    kicks: Arc<Vec<EventFd>>,
    rings: BTreeMap<u16, Vring>,
}

impl Server {
    /// The driver is ready: all its rings run.
    fn start(&mut self) -> Result<(), String> {
        let failed = |e: io::Error| e.to_string();
        let features = self.device.features().map_err(failed)?;
        let event_idx = wire::feature("event_idx").is_some_and(|bit| features & bit != 0);

        self.mappings.forget(true)?;
        self.mappings.refresh()?;
        for index in 0..self.settings.queues {
            let info = self.device.ring(index).map_err(failed)?;
            if !info.ready {
                continue;
            }
            let memory = self.mappings.memory.clone();
            let vring =
                Vring::new(memory.clone(), self.settings.ring).map_err(|e| e.to_string())?;
            vring.set_queue_size(info.size);
            vring
                .set_queue_info(info.descriptors, info.avail, info.used)
                .map_err(|e| format!("ring {index}: {e}"))?;
            vring.set_queue_next_avail(info.next_avail);
            vring.set_queue_next_used(info.next_avail);
            vring.set_queue_event_idx(event_idx);
            vring.set_queue_ready(true);
            self.rings.insert(index, vring.clone());

            let (device, mappings) = (self.device.clone(), self.mappings.clone());
            self.engine.attach(
                index,
                Ring {
                    vring,
                    memory,
                    interrupt: Arc::new(move || {
                        // Fails while the driver resets the device.
                        let _ = device.interrupt(index);
                    }),
                    refresh: Arc::new(move || {
                        if let Err(why) = mappings.refresh() {
                            eprintln!("blkdev: {why}");
                        }
                    }),
                },
            );
            // A reset takes it away.
            self.device
                .set_kick(index, &self.kicks[usize::from(index)])
                .map_err(failed)?;
            self.engine.kick(index);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), String> {
        self.engine.detach_all();
        self.rings.clear();
        self.mappings.forget(false)
    }

    /// Answers the kernel's messages, for ever.
    fn serve(&mut self) -> Result<(), String> {
        let failed = |e: io::Error| e.to_string();
        let mut status = 0;

        loop {
            let (id, message) = match self.device.receive() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(failed)?,
            };
            let (mut ring, mut next_avail) = (0, 0);
            let done = match message {
                Message::RingState(index) => {
                    ring = index;
                    next_avail = self.rings.get(&(index as u16)).map_or(0, |vring| {
                        vring.get_ref().get_queue().next_avail() //
                    });
                    Ok(())
                }
                Message::Status(new) => {
                    let old = std::mem::replace(&mut status, new);
                    if new == 0 {
                        self.stop()
                    } else if new & !old & DRIVER_OK != 0 {
                        self.start()
                    } else {
                        Ok(())
                    }
                }
                Message::Mappings => self.mappings.forget(!self.rings.is_empty()),
                Message::Unknown => Err("a message of an unknown type".into()),
            };
            if let Err(why) = &done {
                eprintln!("blkdev: {why}");
            }
            self.device
                .answer(id, done.is_ok(), ring, next_avail)
                .map_err(failed)?;
        }
    }
}

/// Waits for kicks, for ever.
fn wait(engine: &Engine, kicks: &[EventFd]) -> io::Result<()> {
    let epoll = Epoll::new()?;
    let mut events = vec![EpollEvent::default(); kicks.len()];

    for (index, kick) in kicks.iter().enumerate() {
        let event = EpollEvent::new(EventSet::IN, index as u64);
        epoll.ctl(ControlOperation::Add, kick.as_raw_fd(), event)?;
    }
    loop {
        let count = match epoll.wait(-1, &mut events) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        for event in &events[..count] {
            let index = event.data() as u16;
            let _ = kicks[usize::from(index)].read();
            engine.kick(index);
        }
    }
}

/// Makes the device and serves it. It is ready for `vdpa dev add` when the control socket is there.
pub fn run(engine: &Arc<Engine>, settings: &Settings) -> Result<(), String> {
    let name = &settings.serial;
    let failed = |what| move |e: io::Error| format!("{what}: {e}");
    let features = settings.features()? | wire::feature("access_platform").unwrap_or(0);

    ioctl::create(name, features, settings.queues, &settings.config_space()?)
        .map_err(failed("the kernel makes no such device"))?;
    let device = Arc::new(Device::open(name).map_err(failed("/dev/vduse"))?);
    let mut kicks = Vec::new();
    for index in 0..settings.queues {
        let kick = EventFd::new(EFD_NONBLOCK).map_err(failed("eventfd"))?;
        device
            .set_up_ring(index, settings.ring)
            .map_err(failed("a ring"))?;
        kicks.push(kick);
    }
    let kicks = Arc::new(kicks);
    let mappings = Arc::new(Mappings {
        device: device.clone(),
        memory: Memory::new(GuestMemoryMmap::new()),
        regions: Mutex::default(),
    });

    engine.set_front(Arc::new(Kernel(device.clone())));
    let (waiter, events) = (engine.clone(), kicks.clone());
    std::thread::spawn(move || {
        if let Err(e) = wait(&waiter, &events) {
            eprintln!("blkdev: waiting for kicks: {e}");
        }
    });
    if let Some(path) = &settings.control {
        control::listen(engine, path)?;
    }
    if settings.changes > 0 {
        engine.change(settings.lies.unwrap_or(settings.seed), settings.changes);
    }
    Server {
        engine: engine.clone(),
        settings: settings.clone(),
        device,
        mappings,
        kicks,
        rings: BTreeMap::new(),
    }
    .serve()
}

/// Removes a device whose server has ended.
pub fn destroy(name: &str) -> Result<(), String> {
    ioctl::destroy(name).map_err(|e| format!("{name}: {e}"))
}
