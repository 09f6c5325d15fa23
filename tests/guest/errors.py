# SPDX-License-Identifier: GPL-2.0
"""Disks that fail at sector 2048 (1 MiB): who asked hears EIO, and only who asked."""

import errno
import mmap
import os
import sys
from collections.abc import Callable

BAD = 1 << 20
GOOD = 2 << 20
page = mmap.mmap(-1, 4096)


def direct(name: str) -> int:
    return os.open(f"/dev/{name}", os.O_RDWR | os.O_DIRECT)


def buffered(name: str) -> int:
    return os.open(f"/dev/{name}", os.O_RDWR)


def must_fail(what: str, action: Callable[[], object], wanted: int = errno.EIO) -> None:
    name = errno.errorcode[wanted]
    try:
        action()
    except OSError as err:
        if err.errno != wanted:
            sys.exit(f"{what}: {errno.errorcode[err.errno or 0]} instead of {name}")
        print(f"{what}: {name}")
    else:
        sys.exit(f"{what}: no error")


read, write, flush, full, *rest = sys.argv[1:]
# Virtio-blk has no word for a full disk, SCSI has.
full_errno = getattr(errno, rest[0]) if rest else errno.EIO

fd = direct(read)
for _ in range(3):
    must_fail("direct read", lambda: os.preadv(fd, [page], BAD))
os.preadv(fd, [page], GOOD)
os.pwritev(fd, [page], BAD)
fd = buffered(read)
must_fail("buffered read", lambda: os.pread(fd, 4096, BAD))

fd = direct(write)
for _ in range(3):
    must_fail("direct write", lambda: os.pwritev(fd, [page], BAD))
must_fail("direct write, RWF_DSYNC", lambda: os.pwritev(fd, [page], BAD, os.RWF_DSYNC))
os.pwritev(fd, [page], GOOD)
os.preadv(fd, [page], BAD)
fd = buffered(write)
os.pwrite(fd, bytes(4096), BAD)
must_fail("fsync after a buffered write", lambda: os.fsync(fd))

fd = direct(flush)
os.pwritev(fd, [page], GOOD)
must_fail("fsync with a failing flush", lambda: os.fsync(fd))
must_fail("RWF_DSYNC with a failing flush", lambda: os.pwritev(fd, [page], GOOD, os.RWF_DSYNC))
os.preadv(fd, [page], GOOD)

fd = direct(full)
must_fail("write to a full host", lambda: os.pwritev(fd, [page], BAD), full_errno)
os.pwritev(fd, [page], GOOD)
