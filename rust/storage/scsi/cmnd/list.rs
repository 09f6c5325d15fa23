// SPDX-License-Identifier: GPL-2.0

//! Lists of commands.

use super::{
    finish,
    private,
    Command, //
};
use crate::{
    bindings,
    scsi::operations::Operations, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::sync::rcu;

/// Commands that came back, in their order, to be finished together.
pub struct CommandList<T: Operations> {
    head: *mut bindings::scsi_cmnd,
    tail: *mut bindings::scsi_cmnd,
    _p: PhantomData<T>,
}

// SAFETY: A list owns its commands, which may be finished in any context.
unsafe impl<T: Operations> Send for CommandList<T> {}

impl<T: Operations> Default for CommandList<T> {
    #[inline]
    fn default() -> Self {
        Self {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
            _p: PhantomData,
        }
    }
}

impl<T: Operations> CommandList<T> {
    /// Appends a command.
    #[inline]
    pub fn push(&mut self, cmd: Command<T>) {
        let cmd = cmd.release();

        // SAFETY: The commands on the list are ours, their data initialized.
        unsafe {
            (*private::<T>(cmd)).next = core::ptr::null_mut();
            if self.tail.is_null() {
                self.head = cmd;
            } else {
                (*private::<T>(self.tail)).next = cmd;
            }
        }
        self.tail = cmd;
    }

    /// Takes the first command.
    #[inline]
    fn pop(&mut self) -> Option<Command<T>> {
        let cmd = NonNull::new(self.head)?;

        // SAFETY: As in `push()`.
        self.head = unsafe { (*private::<T>(cmd.as_ptr())).next };
        if self.head.is_null() {
            self.tail = core::ptr::null_mut();
        }
        Some(Command(cmd, PhantomData))
    }

    /// Finishes all commands, after `judge` has set the result of each. Hold no lock. Returns how
    /// many there were.
    ///
    /// The guard must be from before the first command was taken from its queue: error handling
    /// that finds a command neither with the device nor given back waits for a grace period, and
    /// takes an abort for failed if the command is not back then. Who was preempted on the way from
    /// the queue to here would make it look so.
    #[inline]
    pub fn done(mut self, _rcu: &rcu::Guard, mut judge: impl FnMut(&mut Command<T>)) -> usize {
        let mut n = 0;

        while let Some(mut cmd) = self.pop() {
            judge(&mut cmd);
            // SAFETY: The command is ours; we are in an RCU read section.
            unsafe { finish::<T>(cmd.release()) };
            n += 1;
        }
        n
    }
}

impl<T: Operations> Drop for CommandList<T> {
    fn drop(&mut self) {
        while let Some(cmd) = self.pop() {
            drop(cmd);
        }
    }
}
