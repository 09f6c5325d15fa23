# SPDX-License-Identifier: GPL-2.0
"""Machine profiles: a guest's hardware, and the scenarios that run on it in one boot."""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import Driver, Guest, Qmp, arch
from guest.machine import Handler
from guest.paths import debug

from . import device
from .iscsi import Target
from .needs_reset import needs_reset
from .service import Service
from .storage import Daemon
from .writelog import WriteLog

MODES = ("request", "bio")
ORACLE = ("c",)


def cases_of_disks(scenario: str, driver: Driver) -> list[str]:
    """The cases of a scenario that boots guests of its own: with a disk of each driver, in each mode."""
    modes = ORACLE if driver is Driver.C else MODES
    scsi = "c" if driver is Driver.C else "scsi"
    return [*(f"{mode}:{scenario}" for mode in modes), f"{scsi}:scsi-{scenario}"]


def module_of(case: str) -> str:
    """The driver that such a case is about."""
    return "virtio_scsi" if ":scsi-" in case else "virtio_blk"


class Machine:
    """Disks for one boot: QEMU's arguments and the files behind them."""

    # How long storage is stopped.
    stop_seconds = 40

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.qemu: list[str] = []
        # Devices for Guest's `plugged`.
        self.plugged: list[dict[str, Any]] = []
        self.logs: dict[str, WriteLog] = {}
        self.devices: dict[str, device.Device] = {}
        self.iscsi: Target | None = None
        self.daemon: Daemon | None = None
        # What its scenarios ask the host for, besides what all can.
        self.handlers: dict[str, Handler] = {}
        self._storage: Service | None = None
        self.services: list[Service] = []
        self.no_loop = ""
        self._held: list[int] = []
        self._slot, self._function = 8, 0
        self._hba = ""
        self._targets = 0

    def start_at(self, slot: int) -> None:
        """The PCI slot of the first disk, if others are taken."""
        self._slot = slot

    def port(self, number: int) -> str:
        """A bus for one device: what is behind a port of PCI Express has a reset of its own."""
        name = f"port{number}"
        self.qemu += ["-device", f"pcie-root-port,id={name},slot={number},chassis={number}"]
        return name

    def file(self, name: str, size: int, content: bytes = b"") -> Path:
        path = self.folder / f"{name}.img"
        with open(path, "wb") as image:
            image.write(content)
            image.truncate(size)
        return path

    def blockdev(self, options: str) -> None:
        self.qemu += ["-blockdev", options]

    def _pci(self, device: str, options: str) -> None:
        # Eight disks share a PCI slot, as functions.
        address = f"{self._slot:x}.{self._function}"
        if self._function == 7:
            self._slot, self._function = self._slot + 1, 0
        else:
            self._function += 1
        self.qemu += [
            "-device",
            f"{device},addr=0x{address},multifunction=on" + (f",{options}" if options else ""),
        ]

    def device(self, name: str, node: str, options: str = "", serial: str = "", bus: str = "") -> None:
        """A disk on a node."""
        device = f"virtio-blk-pci,drive={node},id={name},serial={serial or name}"
        if bus:
            more = f",{options}" if options else ""
            self.qemu += ["-device", f"{device},bus={bus}{more}"]
            return
        self._pci(device, options)

    def disk(self, name: str, options: str = "", *, size: int = 256 << 20, content: bytes = b"",
             readonly: bool = False, serial: str = "", bus: str = "") -> None:  # fmt: skip
        """A disk on a sparse file."""
        path = self.file(name, size, content)
        self.blockdev(
            f"driver=file,filename={path},node-name={name},read-only={'on' if readonly else 'off'}"
        )
        self.device(name, name, options, serial, bus)

    def logged(self, name: str, options: str = "", *, size: int = 512 << 20, fault: str = "") -> None:
        """A disk whose writes and flushes the host logs; `fault`: blkdebug's options. Behind a SCSI host if there is one."""
        path, log = self.file(name, size), self.file(f"{name}-log", 0)
        self.blockdev(f"driver=file,filename={path},node-name={name}-file")
        below = f"{name}-file"
        if fault:
            self.blockdev(f"driver=blkdebug,image={below},node-name={name}-fault,{fault}")
            below = f"{name}-fault"
        self.blockdev(f"driver=file,filename={log},node-name={name}-log")
        self.blockdev(f"driver=blklogwrites,file={below},log={name}-log,node-name={name}")
        if self._hba:
            self.unit(name, self._targets)
            self._targets += 1
        else:
            # Merged requests would hide from the log what the guest sent.
            self.device(name, name, f"request-merging=off{',' if options else ''}{options}")
        self.logs[name] = WriteLog(log)

    def thin(self, name: str, options: str = "", *, size: int) -> None:
        """A disk that gives back to the host what the guest discards."""
        path = self.file(name, size)
        self.blockdev(f"driver=file,filename={path},node-name={name},discard=unmap")
        self.device(name, name, options)

    def threads(self, count: int) -> list[dict[str, str]]:
        """So many I/O threads, as `iothread-vq-mapping` names them: they take turns at a disk's queues."""
        names = [f"io{number}" for number in range(count)]
        for name in names:
            self.qemu += ["-object", f"iothread,id={name}"]
        return [{"iothread": name} for name in names]

    def device_json(self, **options: object) -> None:
        """A device with options that are no words."""
        self.qemu += ["-device", json.dumps(options)]

    def vhost_user(self, name: str, *, queues: int = 2, bus: str = "", **settings: object) -> None:
        """A disk served by tests/device; `settings` are those of its settings.rs."""
        served = device.Device(self.folder, name, {"queues": queues, **settings})
        self.devices[name] = served
        self.services.append(served)
        self.qemu += ["-chardev", f"socket,id={name},path={served.socket},reconnect-ms=100"]
        # QEMU, not the device, says how many rings there are.
        on, options = f"vhost-user-blk-pci,chardev={name},id={name}", f"num-queues={queues}"
        if bus:
            self.qemu += ["-device", f"{on},bus={bus},{options}"]
            return
        self._pci(on, options)

    def vhost_user_scsi(self, name: str, units: list[dict[str, object]], *, queues: int = 2,
                        t10_pi: bool = False, bus: str = "", **settings: object) -> None:  # fmt: skip
        """A SCSI host served by tests/device; `units` and `settings` are those of its scsi/settings.rs."""
        settings = {"queues": queues, "units": units, "t10_pi": t10_pi, **settings}
        served = device.Device(self.folder, name, settings, "vhost-user-scsi")
        self.devices[name] = served
        self.services.append(served)
        self.qemu += ["-chardev", f"socket,id={name},path={served.socket},reconnect-ms=100"]
        on, options = f"vhost-user-scsi-pci,chardev={name},id={name}", f"num_queues={queues},t10_pi={'on' if t10_pi else 'off'}"
        if bus:
            self.qemu += ["-device", f"{on},bus={bus},{options}"]
            return
        self._pci(on, options)

    def close(self) -> None:
        for service in self.services:
            service.stop()
        for file in self._held:
            os.close(file)

    def blkdev(self, guest: Guest, args: list[str]) -> str:
        return device.blkdev(self.devices, guest, args)

    def needs_reset(self, guest: Guest, args: list[str]) -> None:
        needs_reset(self.folder, guest, args)

    def faulty(self, name: str, iotype: str, errno: int, sector: int | None = 2048) -> None:
        self.faulty_node(name, iotype, errno, sector)
        self.device(name, name, "rerror=report,werror=report")

    def slow(self, name: str, iops: int, options: str = "") -> None:
        self.qemu += ["-object", f"throttle-group,id={name}-limit,x-iops-total={iops}"]
        self.blockdev(f"driver=null-co,size={64 << 20},read-zeroes=on,node-name={name}-null")
        self.blockdev(
            f"driver=throttle,throttle-group={name}-limit,file={name}-null,node-name={name}"
        )
        self.device(name, name, options)

    def null(self, name: str, size: int, options: str = "") -> None:
        """A disk that answers at once, always zeroes."""
        self.blockdev(f"driver=null-co,size={size},read-zeroes=on,node-name={name}")
        self.device(name, name, options)

    def allocated(self, guest: Guest, args: list[str]) -> str:
        """host allocated NAME: how many KiB the disk's file takes on the host."""
        # What QEMU has not written yet is not counted yet.
        path = next(self.folder.glob(f"{args[0]}.*"))
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        return str(path.stat().st_blocks // 2)

    def faulty_node(self, name: str, iotype: str, errno: int, sector: int | None = 2048) -> None:
        path = self.file(name, 64 << 20)
        self.blockdev(f"driver=file,filename={path},node-name={name}-file")
        where = "" if sector is None else f",inject-error.0.sector={sector}"
        self.blockdev(
            f"driver=blkdebug,image={name}-file,node-name={name},inject-error.0.event=none,"
            f"inject-error.0.iotype={iotype},inject-error.0.errno={errno},inject-error.0.once=off{where}"
        )

    def disk_file(self, name: str, size: int) -> None:
        """A qcow2 image as a node, which shrinks when the guest discards."""
        path = self.folder / f"{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
        self.blockdev(f"driver=file,filename={path},node-name={name}-file,discard=unmap")
        self.blockdev(f"driver=qcow2,file={name}-file,node-name={name},discard=unmap")

    def loop(self, name: str, size: int) -> bool:
        """A node on a block device of the host. Who may not make one has none; `no_loop` tells why."""
        path = self.file(name, size)
        made = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True, check=False)
        if made.returncode:
            self.no_loop = made.stderr.strip()
            return False
        device = made.stdout.strip()
        # Detached while it is open, it goes with the last who has it open: this process or QEMU, however they end.
        self._held.append(os.open(device, os.O_RDWR))
        subprocess.run(["losetup", "--detach", device], check=True)
        self.blockdev(f"driver=host_device,filename={device},node-name={name},discard=unmap")
        return True

    def hba(self, name: str = "hba", options: str = "") -> None:
        """A SCSI host; the logical units that follow are behind it."""
        self._hba = name
        self.qemu += [
            "-device",
            f"virtio-scsi-pci,id={name}" + (f",{options}" if options else ""),
        ]

    def unit(self, name: str, target: int, lun: int = 0, options: str = "", *, node: str = "",
             kind: str = "scsi-hd") -> None:  # fmt: skip
        """A logical unit on a node that is there already; `node` if it has another name."""
        self.qemu += [
            "-device",
            f"{kind},bus={self._hba}.0,scsi-id={target},lun={lun},drive={node or name},id={name},serial={name}"
            + (f",{options}" if options else ""),
        ]

    def place(self, name: str, target: int, options: str = "") -> None:
        """A disk on the node of its name: behind the SCSI host if there is one; `options` are those of virtio_blk."""
        if self._hba:
            self.unit(name, target)
        else:
            self.device(name, name, options)

    def lun(self, name: str, target: int, lun: int = 0, options: str = "", *, size: int = 64 << 20,
            content: bytes = b"", kind: str = "scsi-hd") -> None:  # fmt: skip
        """A logical unit on a sparse file."""
        path = self.file(name, size, content)
        readonly = "on" if kind == "scsi-cd" else "off"
        self.blockdev(f"driver=file,filename={path},node-name={name},discard=unmap,read-only={readonly}")
        self.unit(name, target, lun, options, kind=kind)

    def storage(self, names: list[str], size: int) -> None:
        """Nodes that another program serves: one that can be stopped, after which QEMU cannot drain them."""
        path = self.folder / "storage.sock"
        exports: list[str | Path] = []
        for name in names:
            exports += ["--blockdev", f"driver=file,filename={self.file(name, size)},node-name={name}",
                        "--export", f"type=nbd,id={name},node-name={name},name={name},writable=on"]  # fmt: skip
            self.blockdev(f"driver=nbd,server.type=unix,server.path={path},export={name},node-name={name}")
        self._storage = Service(
            ["qemu-storage-daemon", "--nbd-server", f"addr.type=unix,addr.path={path},max-connections=0", *exports],
            self.folder / "storage.messages", path.exists,
        )  # fmt: skip
        self.services.append(self._storage)

    def tell_daemon(self, guest: Guest, args: list[str]) -> None:
        """host daemon kill|start"""
        assert self.daemon
        self.daemon.tell(guest, args)

    def tell_storage(self, guest: Guest, args: list[str]) -> str:
        """host storage stop|go: its program. monitor: whether QEMU itself answers. seconds: how long to stop it."""
        if args == ["monitor"]:
            guest.qmp.run("query-block")
        elif args == ["seconds"]:
            return str(self.stop_seconds)
        elif self._storage:
            self._storage.process.send_signal(signal.SIGSTOP if args == ["stop"] else signal.SIGCONT)
        return ""

    def pause_target(self, guest: Guest, args: list[str]) -> None:
        """host pause-target SECONDS: the iSCSI target answers nothing for so long."""
        assert self.iscsi
        self.iscsi.pause(float(args[0]))

    def flushlog(self, guest: Guest, args: list[str]) -> str:
        """host flushlog mark|read NAME: forget, or tell, what reached the disk since the last time."""
        command, name = args
        found = self.logs[name].summary()
        return found if command == "read" else ""

    def unflushed(self, guest: Guest, args: list[str]) -> str:
        """host unflushed NAME: how often, since the last time, two writes reached one MiB with no flush between."""
        dirty: set[int] = set()
        found = 0
        for entry in self.logs[args[0]].entries():
            if entry.is_flush:
                dirty.clear()
            else:
                found += entry.sector >> 20 in dirty
                dirty.add(entry.sector >> 20)
        return str(found)

    def flushes(self, guest: Guest, args: list[str]) -> str:
        """host flushes NAME: how many flush commands the device had from the guest.

        The write log cannot tell: QEMU sends no flush on when nothing was written since the last.
        """
        return self._statistic(guest, args[0], "flush_operations")

    def writes(self, guest: Guest, args: list[str]) -> str:
        """host writes NAME: how many write commands the device had from the guest."""
        return self._statistic(guest, args[0], "wr_operations")

    def _statistic(self, guest: Guest, name: str, statistic: str) -> str:
        for device in guest.qmp.run("query-blockstats"):
            if device["qdev"].split("/")[3] == name:
                return str(device["stats"][statistic])
        raise KeyError(name)


# How much of it, and which: the environment of tests/run says otherwise.
_DEFAULTS = {"VSR_FAULTS": "20", "VSR_DISKS": "1", "VSR_FAULT": "", "VSR_LIES": "500", "VSR_ROUNDS": "1", "VSR_SEED": "1",
             "VSR_KILLS": "60", "VSR_MANNERS": "", "VSR_LIARS": "4", "VSR_GENTLE": "1", "VSR_ODDS": "8",
             "VSR_KINDS": "length id other-id double mute late swallow ghost jump answer header descriptor event storm news"}  # fmt: skip


def chosen(name: str) -> str:
    return os.environ.get(name, _DEFAULTS[name])


@dataclasses.dataclass
class Profile:
    name: str
    scenarios: tuple[str, ...]
    build: Callable[[Machine], None]
    modes: tuple[str, ...] = MODES
    module: str = "virtio_blk"
    cpus: int = 2
    memory: str = "512M"
    deadline: float = 2400
    options: dict[str, object] = dataclasses.field(default_factory=dict)
    guest: type[Guest] = Guest
    blkdev: bool = False  # its scenarios run tests/device in the guest
    waits: bool = False  # for most of the time, for what takes its time on any machine: it may run beside as many as there are CPUs

    def env(self) -> dict[str, str]:
        words = {name: chosen(name) for name in _DEFAULTS}
        return {"VSR_BLKDEV": str(device.binary()), **words} if self.blkdev else words


def disks_of_campaign(machine: Machine) -> list[tuple[str, Path, str]]:
    """The disks of our own that have faults side by side: their names, files, which outlast who serves them, and buses. QEMU's own, the
    disk "qemu", is one more."""
    names = [f"campaign{number or ''}" for number in range(int(chosen("VSR_DISKS")))]
    return [(name, machine.file(name, 512 << 20), machine.port(number)) for number, name in enumerate(names, 1)]


def liars() -> list[str]:
    """The disks of our own that lie side by side."""
    return [f"liar{number or ''}" for number in range(int(chosen("VSR_LIARS")))]


def _lies(machine: Machine) -> None:
    for name in liars():
        machine.vhost_user(name)


def _lies_kinds(machine: Machine) -> None:
    for kind in chosen("VSR_KINDS").split():
        machine.vhost_user(kind)


# For ports. Of 2,500 faults in guests with a thread for each CPU, one met what "platform" says of QEMU's TCG.
CAMPAIGN = {"machine": "q35", "shared_memory": True, "one_thread": True}
# A guest whose C driver waits for ever does not go down.
CAMPAIGN_DEADLINE = 14400 if Driver.from_env() is Driver.RS else 1440


def _campaign(machine: Machine) -> None:
    for name, file, port in disks_of_campaign(machine):
        machine.vhost_user(name, bus=port, capacity=1 << 20, file=str(file), latency_ms=1)
    machine.disk("qemu", "num-queues=2", size=512 << 20, bus=machine.port(0))


def _io(machine: Machine) -> None:
    machine.thin("thin", "num-queues=2", size=128 << 20)
    machine.disk("data", "num-queues=2", size=512 << 20)
    machine.disk("data4k", "num-queues=2,logical_block_size=4096,physical_block_size=4096")
    machine.disk("tiny", "queue-size=4,num-queues=1", size=64 << 20)
    machine.disk("readonly", content=b"read only", size=1 << 20, readonly=True)
    machine.disk(
        "geometry",
        "cyls=100,heads=8,secs=32,physical_block_size=4096,min_io_size=8192,opt_io_size=65536",
        size=100 * 8 * 32 * 512,
    )
    machine.disk("serial", size=1 << 20, serial="12345678901234567890")
    machine.slow("slow", 10, "num-queues=1")


def _flush(machine: Machine) -> None:
    machine.logged("flush")
    machine.logged("flush-through", "write-cache=off,config-wce=off", size=16 << 20)
    machine.disk("no-wce", "config-wce=off,write-cache=on", size=1 << 20)
    machine.faulty("bad-read", "read", 5)
    machine.faulty("bad-write", "write", 5)
    machine.faulty("bad-flush", "flush", 5, None)
    machine.faulty("no-space", "write", 28)
    machine.logged(
        "bad-write-log",
        "werror=report",
        size=16 << 20,
        fault="inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=5,"
        "inject-error.0.once=off,inject-error.0.sector=2048",
    )


def _hotplug(machine: Machine) -> None:
    machine.disk("data", size=16 << 20)
    machine.disk("data4k", "logical_block_size=4096,physical_block_size=4096", size=16 << 20)
    machine.disk("resize", size=64 << 20)
    # Pulled by itself: it needs a PCI slot of its own.
    path = machine.file("plug", 64 << 20)
    machine.blockdev(f"driver=file,filename={path},node-name=plug")
    if arch.PLUG_PORT:
        machine.qemu += ["-device", "pcie-root-port,id=plug-port,chassis=1,slot=1,addr=0x10"]
    machine.qemu += ["-device", PLUG_DEVICE]


PLUG_DEVICE = "virtio-blk-pci,drive=plug,id=plug,serial=plug,num-queues=2," + (
    "bus=plug-port" if arch.PLUG_PORT else "addr=0x10"
)


def plug(guest: Guest, args: list[str]) -> None:
    """host plug ID"""
    options = dict(item.split("=") for item in PLUG_DEVICE.split(",")[1:])
    guest.qmp.run("device_add", driver="virtio-blk-pci", **{**options, "num-queues": 2})


def unplug(guest: Guest, args: list[str]) -> None:
    """host unplug ID; returns when the guest has let go of it."""
    qmp: Qmp = guest.qmp
    qmp.run("device_del", id=args[0])
    qmp.wait_event("DEVICE_DELETED", 60, device=args[0])


def _queues(machine: Machine) -> None:
    for count in (1, 2, 8):
        machine.disk(f"mq{count}", f"num-queues={count}", size=64 << 20)


def _rings(machine: Machine) -> None:
    # QEMU gives every PCI disk a ring of 1024 whatever queue-size says, but tells seg_max by queue-size;
    # true small rings come from VDUSE devices that the scenario makes in the guest.
    machine.disk("ring-1024", "num-queues=1", size=64 << 20)
    machine.disk("ring-seg-2", "queue-size=4,num-queues=1", size=64 << 20)
    machine.disk("ring-direct", "indirect_desc=off,num-queues=1", size=64 << 20)
    machine.disk("ring-noevent", "event_idx=off,num-queues=2", size=64 << 20)
    machine.disk("ring-packed", "packed=on,num-queues=1", size=64 << 20)
    machine.disk("ring-in-order", "in_order=on,num-queues=1", size=64 << 20)
    machine.disk("ring-packed-in-order", "packed=on,in_order=on,num-queues=1", size=64 << 20)
    machine.disk("ring-no-reset", "queue_reset=off,num-queues=1", size=64 << 20)
    machine.disk("ring-modern", "disable-legacy=on,num-queues=1", size=64 << 20)
    machine.disk("ring-legacy", "disable-modern=on,num-queues=1", size=64 << 20)


def _platform(machine: Machine) -> None:
    """Disks behind an IOMMU, which PCI Express can reset.

    With packed rings: of an entry of a split one that lies on two pages, QEMU 10.0 writes the second
    half to the wrong page, and the guest's memory is corrupt, whatever its driver.
    """
    machine.qemu += ["-device", "intel-iommu"]
    machine.disk("iommu", "iommu_platform=on,packed=on,disable-legacy=on,num-queues=2", size=64 << 20)
    # Only what is behind a port is a PCI Express device, and has a reset of its own.
    machine.qemu += ["-device", "pcie-root-port,id=express,slot=1,chassis=1"]
    machine.disk("reset", "iommu_platform=on,packed=on,num-queues=2", size=64 << 20, bus="express")
    machine.disk("plain", "num-queues=2", size=64 << 20)
    machine.qemu += ["-device", "pcie-root-port,id=express1,slot=2,chassis=2"]
    machine.vhost_user("stalled", latency_ms=1, bus="express1")


def _bounce(machine: Machine) -> None:
    """A disk whose buffers are copied, as in a guest with encrypted memory."""
    machine.disk("bounce", "iommu_platform=on,disable-legacy=on,num-queues=2", size=64 << 20)


def shutdown(machine: Machine) -> None:
    machine.logged("down", "num-queues=2")


def _device(machine: Machine) -> None:
    machine.thin("same-qemu", "num-queues=2", size=64 << 20)
    machine.vhost_user(
        "same-ours",
        features=["geometry", "topology", "config_wce", "discard", "write_zeroes"],
        config={
            "seg_max": 254,
            "discard_sector_alignment": 1,
            "max_discard_seg": 1,
            "max_discard_sectors": (1 << 22) - 1,
            "max_write_zeroes_sectors": (1 << 22) - 1,
        },
    )
    for order in ("random", "reversed"):
        machine.vhost_user(order, order=order, latency_ms=4)
    machine.vhost_user("reconnect", latency_ms=1)


def _daemon(machine: Machine) -> None:
    """A disk of qemu-storage-daemon.

    It does not tell QEMU what it has in hand, so that QEMU, when it is back, sends what follows the last answer: of
    answers out of order some requests would be lost, and others be done twice. The throttle keeps the order, and is slower than the guest.
    """
    daemon = machine.daemon = Daemon(
        machine.folder,
        ["--object", f"throttle-group,id=limit,x-iops-total={40 if debug() else 200}",
         "--blockdev", f"driver=file,filename={machine.file('data', 64 << 20)},node-name=file",
         "--blockdev", "driver=throttle,throttle-group=limit,file=file,node-name=data"],
        ["data"], queues=1,
    )  # fmt: skip
    machine.services.append(daemon)
    machine.qemu += ["-chardev", f"socket,id=data,path={daemon.socket('data')},reconnect-ms=100"]
    machine.qemu += ["-device", "vhost-user-blk-pci,chardev=data,id=data,num-queues=1"]


def _iothreads(machine: Machine) -> None:
    """Disks whose queues are shared out between I/O threads."""
    mapping = machine.threads(2)
    for slot, (name, size) in enumerate((("data", 512), ("data4k", 4096)), 0x10):
        path = machine.file(name, 512 << 20)
        machine.blockdev(f"driver=file,filename={path},node-name={name}")
        machine.device_json(
            driver="virtio-blk-pci", id=name, drive=name, serial=name, addr=f"0x{slot:x}", logical_block_size=size,
            physical_block_size=4096, **{"num-queues": 4, "iothread-vq-mapping": mapping},
        )  # fmt: skip


def stopped(machine: Machine) -> None:
    machine.storage(["stopped0", "stopped1"], 64 << 20)
    for number, name in enumerate(("stopped0", "stopped1")):
        machine.place(name, number, "num-queues=2")
    machine.file("free", 64 << 20)
    machine.blockdev(f"driver=file,filename={machine.folder}/free.img,node-name=free")
    machine.place("free", 2)


def _many(machine: Machine) -> None:
    for number in range(40):
        machine.disk(f"many{number}", "num-queues=1", size=1 << 20)


def _vectors(count: int) -> Callable[[Machine], None]:
    """So many disks with a queue for each of 16 CPUs, behind bridges; and a network card that wants a vector for each of its
    queues, whose driver the scenario loads last. See Guest for `plugged`."""

    def build(machine: Machine) -> None:
        machine.qemu += ["-netdev", "user,id=net,restrict=on", "-device", "igb,netdev=net,mac=52:54:00:00:00:01"]
        for number in range(count):
            # A bridge has 32 slots of 8 functions; one for itself maybe.
            bridge, place = divmod(number, 240)
            slot, function = divmod(place, 8)
            if place == 0:
                machine.qemu += ["-device", f"pcie-pci-bridge,id=bridge{bridge}"]
            name = f"v{number}"
            machine.blockdev(f"driver=null-co,size={1 << 20},read-zeroes=on,node-name={name}")
            # Function 0 has to be a slot's last one. Without a file for each queue, which would be 8,000.
            machine.plugged.insert(number - function, {
                "driver": "virtio-blk-pci", "drive": name, "id": name, "serial": name, "bus": f"bridge{bridge}",
                "addr": f"{slot + 1:x}.{function}", "multifunction": True, "disable-legacy": "on", "num-queues": 16,
                "queue-size": 64, "ioeventfd": False,
            })  # fmt: skip

    return build


class CrowdedGuest(Guest):
    """One whose kernel has hundreds of PCI functions to look at, before anything is heard of it."""

    first_boot_limit = boot_limit = 1200


def vectors(full: bool) -> list[Profile]:
    """For kernels that have the card's driver."""
    # With SMM, QEMU would have a map of the memory for each CPU, to be drawn anew with each change of a disk's.
    options = {"machine": "q35,smm=off"}
    profiles = [Profile("vectors", ("vectors",), _vectors(140), cpus=16, memory="2G", options=options)]
    # In request mode the disks take about 10 MiB each of the guest.
    if full and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >= 12 << 30:
        profiles.append(
            Profile(
                "vectors-500", ("vectors",), _vectors(500), cpus=16, memory="7G", deadline=7200, options=options, guest=CrowdedGuest,
            )
        )  # fmt: skip
    return profiles


def _choice(machine: Machine) -> None:
    for number in (1, 2):
        machine.null(f"fast{number}", 64 << 20, f"num-queues={number}")
    machine.null("big-blocks", 64 << 20, "logical_block_size=32768,physical_block_size=32768")
    machine.null("none", 0)
    machine.slow("slow", 10, "num-queues=1")
    machine.faulty("unreadable", "read", 5, None)
    machine.disk("data", "num-queues=2", size=64 << 20)


def _isolated(machine: Machine) -> None:
    machine.slow("slow", 10, "num-queues=1")


def _swap(machine: Machine) -> None:
    machine.disk("swap", "num-queues=2", size=1 << 30)


def _udev(machine: Machine) -> None:
    machine.disk("data", size=64 << 20)


UDEV_PARAMS = {"bio": ("use_bio=on", "num_request_queues=some"), "request": ("use_bio=maybe",)}


def _installed(mode: str) -> Profile:
    return Profile(
        f"udev-{mode}",
        ("udev",),
        _udev,
        (mode,),
        options={
            "udev": True,
            "installed": True,
            # The last value is wrong, for which the default counts.
            "cmdline": [f"virtio_blk.{word}" for word in UDEV_PARAMS[mode]],
        },
    )


PROFILES = [
    Profile(
        "io",
        ("identity", "fio-direct", "fio-buffered", "mmap", "scattered", "filesystems", "schedulers",
         "partitions", "diskstats", "trace", "counters", "read-only", "discard"),
        _io,
    ),
    Profile("flush", ("flush", "fsyncs", "cache-type", "errors"), _flush),
    Profile("hotplug", ("resize", "unplug", "unbind", "reload", "params", "io-path"), _hotplug),
    Profile("queues", ("mq", "poll", "cpu-offline"), _queues),
    Profile("rings", ("rings", "small-rings"), _rings),
    Profile(
        "device",
        ("device-same", "device-order", "nowait", "device-reconnect", "device-ops", "device-zoned", "device-zone-order",
         "device-append", "device-config", "device-answers"),
        _device,
        blkdev=True,
        options={"shared_memory": True},
    ),
    Profile(
        "device-late", ("device-lost", "device-repair", "device-cancelled", "watch"), _device, blkdev=True, options={"shared_memory": True}, waits=True,
    ),
    # Its disks are made in the guest.
    Profile("campaign", ("campaign",), _campaign, deadline=CAMPAIGN_DEADLINE, options=CAMPAIGN),
    Profile("lies", ("lies",), _lies, deadline=14400, blkdev=True, options={"shared_memory": True}),
    Profile("many", ("many", "choice-many"), _many),
    Profile("choice", ("choice", "disks"), _choice, ("request",), blkdev=True),
    Profile("stopped", ("stopped",), stopped, waits=True),
    Profile("daemon", ("daemon-killed",), _daemon, options={"shared_memory": True}),
    # As many queues as two I/O threads can share.
    Profile("iothreads", ("fio-direct",), _iothreads, cpus=4),
    Profile("swap", ("swap",), _swap, memory="256M"),
    Profile("isolated", ("isolated",), _isolated, options={"cmdline": ["isolcpus=managed_irq,domain,1", "nohz_full=1", "highres=on", "nohz=on"]}, waits=True),
    Profile(
        "platform",
        ("dma", "reset", "stalled-path", "lost"),
        _platform,
        # QEMU 10.0's TCG loses an end of interrupt now and then while functions are reset: a CPU is idle, with the timer's
        # interrupt (236) in service, and gets no other one. So one thread emulates all CPUs.
        options={"machine": "q35", "cmdline": ["intel_iommu=on", "iommu.strict=1"], "one_thread": True, "shared_memory": True},
        waits=True,
    ),
    Profile("bounce", ("dma",), _bounce, options={"cmdline": ["swiotlb=force,track_hiwater"]}),
    Profile("bio-sample", ("bio-ram-disk",), lambda machine: None, ("bio",), "rust_bio_ram_disk"),
    *(Profile(f"shutdown-{mode}", ("shutdown",), shutdown, (mode,)) for mode in MODES),
    *(_installed(mode) for mode in MODES),
]  # fmt: skip

# Its disks are made in the guest.
CONFIG_LIES = Profile("config-lies", ("config-lies",), lambda machine: None, deadline=3600, blkdev=True)
# What a driver makes of each kind of lie.
LIES_KINDS = Profile("lies-kinds", ("lies-kinds",), _lies_kinds, deadline=3600, blkdev=True, options={"shared_memory": True})

# Scenarios in which the C driver answers first, for ours to be compared with.
ORACLE_FIRST = {"identity", "scsi-identity", "hosts"}
