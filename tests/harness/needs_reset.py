# SPDX-License-Identifier: GPL-2.0
"""What a guest sees when QEMU finds nonsense in a ring: DEVICE_NEEDS_RESET, and nothing is answered any more.

QEMU's own devices say so only then. So the ring of a stopped guest is made nonsense: what QEMU looks at first when it
goes on, before the guest writes there again. It is one request more, whose descriptor no ring has. An index that is far
ahead would not do: QEMU then serves again what lies in the ring from the last time round, in memory that others use by
now, and writes data of one request where another one belongs.
"""

import struct
import time
from pathlib import Path

from guest import Guest


def _qemu(folder: Path) -> int:
    """The process of the QEMU whose disks are in this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command.split(b"\0")[0] and str(folder).encode() in command:
            return int(process.name)
    raise RuntimeError(f"no QEMU has disks in {folder}")


# What QEMU says of such a descriptor.
_SAID = "index 65535 is available"
# The guest is first if it adds to that very queue in this moment.
_TRIES = 50


def needs_reset(folder: Path, guest: Guest, args: list[str]) -> None:
    """host needs-reset NAME [QUEUE]: the device (with split rings) needs a reset from now on.

    `host needs-reset NAME QUEUE next`: from when it takes something off that queue, in which buffers wait for the device to need them,
    as for events.
    """
    if args[2:] == ["next"]:
        _plant(folder, guest, args)
        return
    log = guest.log / "qemu.log"
    before = log.read_text(errors="replace").count(_SAID)
    for _ in range(_TRIES):
        _plant(folder, guest, args)
        # QEMU looks at all queues when it goes on, and the guest may have written the right number before it did.
        end = time.monotonic() + 1
        while time.monotonic() < end:
            if log.read_text(errors="replace").count(_SAID) > before:
                return
            time.sleep(0.01)
    raise RuntimeError(f"{args[0]} has found nothing wrong in {_TRIES} tries")


def _plant(folder: Path, guest: Guest, args: list[str]) -> None:
    """Once: the guest may be first."""
    guest.qmp.run("stop")
    try:
        _write(folder, guest, args[0], int(args[1]) if args[1:] else 0, waits=args[2:] == ["next"])
    finally:
        guest.qmp.run("cont")


def _write(folder: Path, guest: Guest, name: str, queue: int, *, waits: bool) -> None:
    """Makes nonsense of the ring of a guest that stands still; of what is in it for later, if the device `waits` to need it."""
    ring = guest.qmp.run("x-query-virtio-queue-status", path=f"/machine/peripheral/{name}/virtio-backend", queue=queue)
    if not ring["vring-avail"]:
        # It is being reset.
        return
    found = guest.qmp.run("human-monitor-command", **{"command-line": f"gpa2hva {ring['vring-avail']:#x}"})
    host = int(found.split()[-1], 16)
    with open(f"/proc/{_qemu(folder)}/mem", "r+b", buffering=0) as memory:
        memory.seek(host + 2)
        (index,) = struct.unpack("<H", memory.read(2))
        at = ring["last-avail-idx"] if waits else index
        assert not waits or at != index, "no buffer waits there"
        memory.seek(host + 4 + 2 * (at % ring["vring-num"]))
        memory.write(struct.pack("<H", 0xFFFF))
        if not waits:
            memory.seek(host + 2)
            memory.write(struct.pack("<H", (index + 1) & 0xFFFF))
