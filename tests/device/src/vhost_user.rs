// SPDX-License-Identifier: GPL-2.0

//! The front end for QEMU's vhost-user-blk-pci and vhost-user-scsi-pci.
//!
//! QEMU masks the features to those that it knows, so there is no secure erase here, no lifetime, no
//! zones; and it alone says how many queues there are, and how large. For those see `vduse.rs`.

use crate::engine::{
    Engine,
    Front,
    Memory,
    Ring,
    Vring, //
};
use std::{
    io,
    sync::{
        Arc,
        Mutex, //
    },
};
use vhost::vhost_user::{
    message::{
        VhostUserProtocolFeatures,
        VhostUserVirtioFeatures, //
    },
    Listener,
};
use vhost_user_backend::{
    ShutdownHandle,
    VhostUserBackend,
    VhostUserDaemon,
    VringT, //
};
use vm_memory::{
    GuestMemoryAtomic,
    GuestMemoryMmap, //
};
use vmm_sys_util::{
    epoll::EventSet,
    event::{
        new_event_consumer_and_notifier,
        EventConsumer,
        EventFlag,
        EventNotifier, //
    },
};

/// What one connection needs.
struct Backend {
    engine: Arc<Engine>,
    queues: u16,
    features: u64,
    memory: Memory,
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.queues.into()
    }

    // QEMU's most, and what it takes, whatever its queue-size says.
    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        self.features | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        self.engine.accepted(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
    }

    // The daemon tells the rings themselves.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.engine.read_config(offset as usize, size as usize)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        self.engine.write_config(offset as usize, bytes);
        Ok(())
    }

    // The memory is shared with the daemon.
    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        self.engine.settle(queue as u16);
        Ok(())
    }

    fn handle_event(
        &self,
        queue: u16,
        _events: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        let Some(vring) = vrings.get(usize::from(queue)).cloned() else {
            return Ok(());
        };
        let caller = vring.clone();

        self.engine.attach(
            queue,
            Ring {
                vring,
                memory: self.memory.clone(),
                interrupt: Arc::new(move || {
                    let _ = caller.signal_used_queue();
                }),
                refresh: Arc::new(|| ()),
            },
        );
        self.engine.kick(queue);
        Ok(())
    }
}

struct Connection(Mutex<Option<ShutdownHandle>>);

impl Front for Connection {
    fn config_changed(&self, _offset: usize, _bytes: &[u8], _tell: bool) -> Result<(), String> {
        Err("vhost-user-backend cannot send this message; use VDUSE".into())
    }

    fn disconnect(&self) -> Result<(), String> {
        let handle = self.0.lock().map_err(|e| e.to_string())?.take();

        handle.ok_or("not connected")?.shutdown();
        Ok(())
    }
}

/// Serves one connection after the other, for ever.
pub fn run(engine: &Arc<Engine>, queues: u16, features: u64, socket: &str) -> Result<(), String> {
    let connection = Arc::new(Connection(Mutex::new(None)));
    let mut listener = Listener::new(socket, true).map_err(|e| format!("{socket}: {e}"))?;

    engine.set_front(connection.clone());
    loop {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Arc::new(Backend {
            engine: engine.clone(),
            queues,
            features,
            memory: memory.clone(),
        });
        // A daemon belongs to one connection: its state says who owns the device.
        let mut daemon = VhostUserDaemon::new("blkdev".into(), backend, memory)
            .map_err(|e| format!("the daemon: {e}"))?;

        daemon
            .start(&mut listener)
            .map_err(|e| format!("{socket}: {e}"))?;
        *connection.0.lock().map_err(|e| e.to_string())? = daemon.shutdown_handle();
        if let Err(e) = daemon.wait() {
            eprintln!("blkdev: the connection ended: {e}");
        }
        engine.detach_all();
    }
}
