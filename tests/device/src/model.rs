// SPDX-License-Identifier: GPL-2.0

//! What a kind of device is to the engine, which knows rings only.

use crate::faults::Delivery;
use virtio_queue::{
    desc::split::Descriptor,
    Writer, //
};
use vm_memory::GuestAddress;

/// A request as it was found in a ring.
pub struct Exchange<'a> {
    pub queue: u16,
    /// All that the driver wrote.
    pub input: Vec<u8>,
    /// Where the answer goes, and how many bytes it has room for.
    pub output: Writer<'a>,
    pub room: usize,
    /// The lengths of the buffers, for the log.
    pub readable: Vec<u32>,
    pub writable: Vec<u32>,
}

/// What names a request that is on its way, so that another request can end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub target: u8,
    pub lun: u16,
    pub tag: u64,
}

/// Ends requests that were not answered yet.
pub struct Ends {
    pub which: Box<dyn Fn(&Key) -> bool + Send>,
    /// What replaces the beginning of their answers.
    pub answer: Vec<u8>,
}

/// Asks whether a request was not answered yet.
pub struct Asks {
    pub which: Box<dyn Fn(&Key) -> bool + Send>,
    /// What is answered first if there is one, and if not.
    pub answers: [u8; 2],
}

/// A request that was done.
#[derive(Default)]
pub struct Served {
    /// The used length.
    pub used: u32,
    pub delivery: Delivery,
    /// For the log.
    pub note: String,
    pub key: Option<Key>,
    pub ends: Option<Ends>,
    pub asks: Option<Asks>,
}

/// Something for the driver that it did not ask for: goes into a buffer of an inbox.
#[derive(Clone)]
pub struct Message {
    pub queue: u16,
    pub bytes: Vec<u8>,
    pub delivery: Delivery,
}

/// What comes of a test's command.
#[derive(Default)]
pub struct Reply {
    /// Fields of the configuration space that changed.
    pub config: Vec<(&'static str, u64)>,
    pub messages: Vec<Message>,
}

pub trait Model: Send {
    /// Does a request, writes the answer. An error is for the log; then nothing was written.
    fn serve(&mut self, exchange: Exchange<'_>) -> Result<Served, String>;

    /// Does what a test asks for; `None` if it knows no such command.
    fn command(&mut self, verb: &str, words: &str) -> Option<Result<Reply, String>>;

    /// Where a false answer is written to: into which of these buffers, and how many bytes of it.
    fn false_answer(&self, queue: u16, output: &[Descriptor]) -> Option<(GuestAddress, u32)>;

    /// A message about what did not happen, made of any bytes; `None` of a device that sends none.
    fn false_message(&self, _bytes: [u8; 16]) -> Option<Message> {
        None
    }

    /// The driver has accepted these features.
    fn accepted(&mut self, _features: u64) {}

    /// Whether the buffers of a queue wait for messages.
    fn is_inbox(&self, _queue: u16) -> bool {
        false
    }
}
