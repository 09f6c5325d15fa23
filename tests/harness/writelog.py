# SPDX-License-Identifier: GPL-2.0
"""The log that QEMU's blklogwrites keeps of what reaches a disk, in the kernel's dm-log-writes format."""

import dataclasses
import random
import struct
from collections.abc import Iterator
from pathlib import Path

_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4
_SECTOR = 512


@dataclasses.dataclass
class Entry:
    sector: int
    sectors: int
    flags: int
    data: int  # where in the log the written data lies

    @property
    def is_flush(self) -> bool:
        return bool(self.flags & _FLUSH)

    def __str__(self) -> str:
        if self.flags & _DISCARD:
            return "D"
        if self.flags & _FLUSH:
            return "F"
        return "A" if self.flags & _FUA else "W"


class WriteLog:
    """Reads entries as they are appended; what QEMU has not written whole is left for later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._sector_size = _SECTOR

    def entries(self) -> Iterator[Entry]:
        """All entries since the last call."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as log:
            if self._at == 0:
                head = log.read(_SECTOR)
                if len(head) < 28:
                    return
                magic, version, _, self._sector_size = struct.unpack_from("<QQQI", head)
                if (magic, version) != (_MAGIC, 1):
                    # The superblock comes with the first update; until then all is zero.
                    self._sector_size = _SECTOR
                self._at = self._sector_size
            while self._at + self._sector_size <= size:
                log.seek(self._at)
                sector, sectors, flags, _ = struct.unpack("<QQQQ", log.read(32))
                if not sectors and not flags:
                    return  # a hole: data came before its entry
                data = self._at + self._sector_size
                length = 0 if flags & (_FLUSH | _DISCARD) else sectors * self._sector_size
                if data + length > size:
                    return
                self._at = data + length
                yield Entry(sector * self._sector_size, sectors * self._sector_size, flags, data)

    def summary(self) -> str:
        return " ".join(str(entry) for entry in self.entries())


def replay(log: Path, image: Path, chooser: random.Random) -> tuple[int, int, int]:
    """Make of `image` what a power cut leaves of a disk with a volatile cache.

    All up to the last flush is there; of the later writes a random part, in random order, one of
    them torn. Returns how many writes were durable, and how many of the others stayed and were lost.
    """
    entries = list(WriteLog(log).entries())
    last_flush = max((i for i, entry in enumerate(entries) if entry.is_flush), default=-1)
    durable = [entry for entry in entries[: last_flush + 1] if not entry.is_flush]
    volatile = [entry for entry in entries[last_flush + 1 :]]
    # FUA writes are on the medium whatever comes.
    durable += [entry for entry in volatile if entry.flags & _FUA]
    rest = [entry for entry in volatile if not entry.flags & _FUA]
    kept = [entry for entry in rest if chooser.random() < 0.5]
    chooser.shuffle(kept)
    with open(log, "rb") as source, open(image, "r+b") as target:
        for number, entry in enumerate([*durable, *kept]):
            if entry.flags & _DISCARD:
                continue
            source.seek(entry.data)
            data = source.read(entry.sectors)
            if kept and number == len(durable) + len(kept) - 1 and len(data) > _SECTOR:
                data = data[: chooser.randrange(1, len(data) // _SECTOR) * _SECTOR]
            target.seek(entry.sector)
            target.write(data)
    return len(durable), len(kept), len(rest) - len(kept)
