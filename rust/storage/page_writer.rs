// SPDX-License-Identifier: GPL-2.0

//! Formatted output into the page that sysfs gives.

use kernel::fmt;

/// Writes into a page; more than fits is an error.
pub(crate) struct PageWriter<'a> {
    page: &'a mut [u8],
    len: usize,
}

impl<'a> PageWriter<'a> {
    pub(crate) fn new(page: &'a mut [u8]) -> Self {
        Self { page, len: 0 }
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl fmt::Write for PageWriter<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len + s.len();

        self.page
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}
