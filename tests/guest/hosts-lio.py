# SPDX-License-Identifier: GPL-2.0
"""What hosts.sh does, where this guest's kernel is the host: LIO's vhost-scsi, and a guest in this one that has its units.

`cell` is unit 0, a file of 64 MiB; `bad` is unit 1, on a file system of 4 MiB; unit 2 comes and goes. For reservations a second guest in
this one has unit 0 by a port of its own. Tells of each aspect when it is done, in the kernel's log, too: all of it is emulated twice.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(os.environ["VSR_SRC"])
sys.path.insert(0, str(HERE / "scripts/guest"))
from logcheck import problems  # noqa: E402
from qmp import Qmp  # noqa: E402

MODE = os.environ["MODE"]
MIB = 1 << 20
SIZE = 64
TARGET = Path("/sys/kernel/config/target")
WWPN = "naa.500140500000000{port}"
STORE = Path("/mnt/lio")
TRACE = Path("/sys/kernel/tracing")
PATIENCE = 1200


class Failed(Exception):
    """Why an aspect is not as it should be."""


def host(*words: str) -> str:
    command = ["bash", "-c", '. "$VSR_GUEST_LIB"; host "$@"', "host", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def tell(text: str) -> None:
    print(text, flush=True)
    Path("/dev/kmsg").write_text(f"hosts-lio: {text}\n")


# The units of LIO.


def unit(name: str) -> Path:
    return TARGET / "core/fileio_0" / name


def make_unit(name: str) -> None:
    """A unit of SIZE MiB on the file STORE/NAME/image, with a cache."""
    image = STORE / name / "image"
    image.parent.mkdir(parents=True, exist_ok=True)
    if name == "bad":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", image.parent], check=True)
    image.touch()
    os.truncate(image, SIZE * MIB)
    path = unit(name)
    path.mkdir(parents=True)
    (path / "control").write_text(f"fd_dev_name={image},fd_dev_size={SIZE * MIB},fd_buffered_io=1\n")
    (path / "wwn/vpd_unit_serial").write_text(name)
    (path / "enable").write_text("1")
    (path / "attrib/emulate_write_cache").write_text("1")


def group(port: int) -> Path:
    return TARGET / "vhost" / WWPN.format(port=port) / "tpgt_1"


def make_port(port: int) -> None:
    """What a guest has its units by, and is known to them by."""
    group(port).mkdir(parents=True)
    (group(port) / "nexus").write_text(WWPN.format(port=port))


def link(name: str, number: int, port: int = 1) -> None:
    place = group(port) / "lun" / f"lun_{number}"
    place.mkdir()
    (place / name).symlink_to(unit(name))


def unlink(name: str, number: int) -> None:
    place = group(1) / "lun" / f"lun_{number}"
    (place / name).unlink()
    place.rmdir()


def set_up() -> None:
    """Once in this guest."""
    if group(1).exists():
        return
    subprocess.run(["modprobe", "target_core_file"], check=True)
    if not TARGET.exists():
        subprocess.run(["mount", "-t", "configfs", "configfs", "/sys/kernel/config"], check=True)
    # Where LIO writes registrations down, which it has to know before there is a fabric.
    (STORE / "registrations/pr").mkdir(parents=True, exist_ok=True)
    (TARGET / "dbroot").write_text(f"{STORE}/registrations")
    subprocess.run(["modprobe", "vhost_scsi"], check=True)
    for name in ("cell", "bad", "more"):
        make_unit(name)
    for port in (1, 2):
        make_port(port)
        link("cell", 0, port)
    link("bad", 1)


# The guest in this one.


class Inner:
    """Goes on where it was saved, see tests/harness/nested.py."""

    def __init__(self, port: int = 1) -> None:
        folder = Path(host("nested")) / MODE
        self.port, self.console = port, Path(f"/run/vsr/nested-{MODE}-{port}.log")
        monitor, monitor_qemu = socket.socketpair()
        self._line, line_qemu = socket.socketpair()
        files = [monitor_qemu.fileno(), line_qemu.fileno()]
        command = [
            *json.loads((folder / "command.json").read_text()),
            "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=line,fd={files[1]}", "-serial", "chardev:line",
            "-chardev", f"socket,id=qmp,fd={files[0]}", "-mon", "chardev=qmp,mode=control",
            "-incoming", f"file:{folder / 'state'}",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=files)
        monitor_qemu.close()
        line_qemu.close()
        self.qmp = Qmp(monitor, timeout=PATIENCE)
        end = time.monotonic() + PATIENCE
        while self.qmp.run("query-migrate").get("status") != "completed":
            if time.monotonic() > end:
                raise Failed("QEMU does not take the guest's state")
            time.sleep(0.5)
        self.qmp.run("cont")

    def status(self, command: str) -> tuple[int, str]:
        """What came of a command of tests/initramfs/nested, and what it printed."""
        self._line.sendall(command.encode() + b"\n")
        self._line.settimeout(PATIENCE)
        heard = b""
        while not heard.endswith(b"\n") or not heard.split(b"\n")[-2].startswith(b"vsr-status "):
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                raise Failed(f"no answer to {command} within {PATIENCE} s") from None
            if not data:
                raise Failed(f"QEMU ended, at {command}")
            heard += data
        *printed, last = heard.decode(errors="replace").splitlines()
        return int(last.split()[1]), "\n".join(printed)

    def do(self, command: str) -> str:
        """One that has to succeed."""
        status, printed = self.status(command)
        if status != 0:
            raise Failed(f"{command}: status {status} {printed.replace(chr(10), ' ')}".strip())
        return printed

    def plug(self) -> None:
        device = {"driver": "vhost-scsi-pci", "id": "hba", "boot_tpgt": 1, "num_queues": 2, "hotplug": True}
        self.qmp.run("device_add", **device, wwpn=WWPN.format(port=self.port), addr="0x10")

    def unplug(self) -> None:
        self.qmp.run("device_del", id="hba")
        self.qmp.wait_event("DEVICE_DELETED", PATIENCE, device="hba")

    def disk(self, number: int) -> str:
        """The name of the disk of a unit, which may not be there yet."""
        return self.do(f"soon unit {number}")

    def write(self, block: int) -> bool:
        """Whether a write to unit 0 passes, or is refused by a reservation."""
        status, printed = self.status(f"dd if=/tmp/x of=/dev/{self.disk(0)} bs=4k seek={block} count=1 oflag=direct conv=notrunc")
        if status != 0 and "Invalid exchange" not in printed:  # EBADE
            raise Failed(f"a write ends in {printed}, not in a reservation conflict")
        return status == 0

    def persist(self, words: str) -> None:
        self.do(f"sg_persist --no-inquiry --out {words} /dev/{self.disk(0)}")

    def end(self) -> list[str]:
        """What its kernel had to complain of."""
        self._process.kill()
        self._process.wait()
        return problems(self.console.read_text(errors="replace").splitlines(), [])


# The aspects.


def found(inner: Inner) -> None:
    inner.plug()
    disk = inner.disk(0)
    inner.do("proved")
    size = int(inner.do(f"blockdev --getsize64 /dev/{disk}"))
    if size != SIZE * MIB:
        raise Failed(f"the capacity is {size}, not {SIZE * MIB}")


def limits(inner: Inner) -> None:
    mine = inner.do(f"limits {inner.disk(0)}").split()
    if MODE == "c":
        host("limits", *mine)
        return
    theirs = host("limits").split()
    if mine != theirs:
        raise Failed(f"not the C driver's: {sorted(set(mine) ^ set(theirs))}")


def io(inner: Inner) -> None:
    disk, image = inner.disk(0), STORE / "cell/image"
    for size, block, flags in (("4k", 300, "direct"), ("64k", 50, "direct"), ("1024k", 7, "direct"), ("4k", 2050, "")):
        inner.do(f"written {disk} {size} {block} {flags}")
        with open(image, "rb") as file:
            file.seek(int(size[:-1]) * 1024 * block)
            digest = hashlib.md5(file.read(MIB)).hexdigest()
        if inner.do("md5sum </tmp/data").split()[0] != digest:
            raise Failed(f"{size} at block {block}: the host's file has other data")


def flush(inner: Inner) -> None:
    """Seen where LIO begins a command."""
    event = TRACE / "events/target/target_sequencer_start"
    (TRACE / "trace").write_text("")
    (event / "enable").write_text("1")
    try:
        inner.do(f"dd if=/tmp/data of=/dev/{inner.disk(0)} bs=4k count=1 oflag=direct conv=fsync,notrunc")
        if "SYNCHRONIZE_CACHE" not in (TRACE / "trace").read_text():
            raise Failed("an fsync, and LIO gets no SYNCHRONIZE CACHE")
    finally:
        (event / "enable").write_text("0")


def error(inner: Inner) -> None:
    disk = inner.disk(1)
    inner.do(f"dd if=/tmp/data of=/dev/{disk} bs=4k seek=1 count=1 oflag=direct conv=notrunc")
    put = f"dd if=/tmp/x of=/dev/{disk} bs=1M seek=$n oflag=direct conv=notrunc"
    status, _ = inner.status(f"for n in $(seq 32 35); do {put} || exit 9; done")
    if status != 9:
        raise Failed(f"4 MiB fit into less: status {status}")
    inner.do(f"dd if=/tmp/data of=/dev/{disk} bs=4k seek=1 count=1 oflag=direct conv=notrunc")
    inner.do(f"dd if=/dev/{disk} of=/dev/null bs=4k skip=1 count=1 iflag=direct")


def event(inner: Inner) -> None:
    """A unit that comes, and goes, while the guest runs."""
    link("more", 2)
    try:
        inner.do(f"written {inner.disk(2)} 64k 3 direct")
    finally:
        unlink("more", 2)
    inner.do("soon gone 2")


def reset(inner: Inner) -> None:
    """The one task management function that vhost-scsi has."""
    counter = unit("cell") / "statistics/scsi_lu/resets"
    before = int(counter.read_text())
    disk = inner.disk(0)
    inner.do(f"sg_reset --no-escalate --device /dev/{disk}")
    if int(counter.read_text()) != before + 1:
        raise Failed(f"LIO has counted {before} and {counter.read_text().strip()} resets")
    inner.do(f"written {disk} 64k 20 direct")


def unplug(inner: Inner) -> None:
    inner.do(f"load {inner.disk(0)} &")
    inner.do("soon test -e /tmp/again")
    inner.unplug()
    inner.do("soon test -e /tmp/ended")
    inner.do("gone 0")
    inner.plug()
    disk = inner.disk(0)
    inner.do("proved")
    inner.do(f"written {disk} 64k 100 direct")


def reservations(first: Inner) -> None:
    """Of two guests on one unit: write exclusive, registrants only."""
    second = Inner(2)
    try:
        second.plug()
        second.disk(0)
        second.do("proved")
        first.persist("--register --param-sark=0xa")
        first.persist("--reserve --param-rk=0xa --prout-type=5")
        if not first.write(4000) or second.write(4001):
            raise Failed("who may write is not the holder alone")
        second.persist("--register --param-sark=0xb")
        if not second.write(4001):
            raise Failed("a registrant may not write")
        second.persist("--preempt --param-rk=0xb --param-sark=0xa --prout-type=5")
        if first.write(4000) or not second.write(4001):
            raise Failed("who was preempted writes, or who preempted cannot")
        second.persist("--clear --param-rk=0xb")
        first.do(f"written {first.disk(0)} 64k 40 direct")
    finally:
        bad = second.end()
    if bad:
        raise Failed(f"the second guest: {'; '.join(bad)}")


ASPECTS: list[Callable[[Inner], None]] = [found, limits, io, flush, error, event, reset, unplug]
if MODE != "c":
    ASPECTS.append(reservations)


def main() -> int:
    set_up()
    begin = time.monotonic()
    inner = Inner()
    tell(f"the guest in this one goes on, after {time.monotonic() - begin:.0f} s")
    bad = []
    try:
        for aspect in ASPECTS:
            name, begin = aspect.__name__, time.monotonic()
            try:
                aspect(inner)
                word = "yes"
            except Failed as err:
                word = str(err)
                bad.append(f"{name}: {word}")
            tell(f"{name}: {word}, {time.monotonic() - begin:.0f} s")
            host("cell", MODE, name, word)
            if bad and name == "found":
                break
    finally:
        complaints = inner.end()
    bad += complaints
    for line in bad:
        tell(line)
    # What the C driver cannot do is written down, and no failure of ours.
    return 1 if bad and MODE != "c" else 0


if __name__ == "__main__":
    sys.exit(main())
