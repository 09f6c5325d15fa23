# SPDX-License-Identifier: GPL-2.0
"""The matrix of hosts: every back end there is, with each driver, one boot a row; tests/guest/hosts.sh is what each must do.

What came of it lies, a file a row, in the build's folder `hosts`; hosts_table.py makes Documentation/hosts.md's of that.
"""

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import Driver, Guest
from guest.paths import BUILD, kernel

from . import nested, packages, vhost_device
from .iscsi import Target
from .profiles import MODES, Machine, Profile
from .runner import Outcome, cases_of, report, run_profile
from .service import Service
from .storage import Daemon

SCENARIO = "hosts"
RESULTS = BUILD / "hosts"
ASPECTS = ("found", "limits", "io", "flush", "discard", "resize", "error", "unplug")
MIB = 1 << 20
SIZE, BAD_SIZE = 128, 64  # in MiB

# The disk `bad`: at 32 MiB it neither reads nor writes, and it never flushes.
_ERRORS = ",".join(
    f"inject-error.{n}.event=none,inject-error.{n}.iotype={kind},inject-error.{n}.errno=5,inject-error.{n}.once=off"
    + (f",inject-error.{n}.sector={32 * MIB // 512}" if kind != "flush" else "")
    for n, kind in enumerate(("read", "write", "flush"))
)


class Cannot(Exception):
    """Why this machine has no such back end."""


class Cell:
    """The machine of a row, and the host's part of the scenario."""

    def __init__(self, machine: Machine, kind: str, host: "Host", results: dict[str, dict[str, str]]) -> None:
        self.machine, self.kind, self.host, self.results = machine, kind, host, results
        self.folder = machine.folder
        self.size = SIZE
        # What is pulled and pushed, in this order.
        self.plugged: list[dict[str, Any]] = []
        # Name and socket of the connection that goes with it: a back end does not know a new device on an old one.
        self.connection: tuple[str, str] | None = None
        # What follows a new size of the disk.
        self.resize: Callable[[Guest, int], None] = self._resize_node
        # Makes `bad` bad; what fails then.
        self.spoil: Callable[[], str] = lambda: "read write"
        machine.handlers = {
            "size": lambda guest, args: str(self.size),
            "cannot": lambda guest, args: host.cannot_do(kind, args[0]),
            "resize": self._resize,
            "spoil": lambda guest, args: self.spoil(),
            "pull": self._pull,
            "push": self._push,
            "cell": self._told,
            "limits": self._limits,
        }

    # The disks.

    def devices(self, blk: dict[str, Any] | None = None, hba: dict[str, Any] | None = None,
                *, unit: str = "scsi-hd", bad: bool = True, ports: bool = False) -> None:  # fmt: skip
        """The disks `cell` and `bad` on the nodes of these names. `ports`: in slots of PCI Express."""
        if ports:
            for number in (0, 1):
                self.machine.device_json(driver="pcie-root-port", id=f"port{number}", slot=number, chassis=number + 1)
        where: list[dict[str, Any]] = [{"bus": f"port{n}"} if ports else {"addr": hex(0x10 + n)} for n in (0, 1)]
        if self.kind == "blk":
            disks = [
                {"driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name, "num-queues": 2, **at, **(blk or {})}
                for name, at in zip(("cell", "bad"), where)
            ]
            self.plugged = disks[:1]
            everything = disks if bad else disks[:1]
        else:
            adapter = {"driver": "virtio-scsi-pci", "id": "hba", "num_queues": 2, **where[0], **(hba or {})}
            disks = [
                {"driver": unit, "bus": "hba.0", "scsi-id": n, "lun": n, "drive": name, "id": name,
                 **({"serial": name, "rerror": "report", "werror": "report"} if unit == "scsi-hd" else {})}
                for n, name in enumerate(("cell", "bad") if bad else ("cell",))
            ]  # fmt: skip
            everything = [adapter, *disks]
            self.plugged = everything if ports else disks[:1]
        for device in everything:
            self.machine.device_json(**device)

    def bad(self, below: str) -> None:
        """The node `bad`, of errors, on another one."""
        self.machine.blockdev(f"driver=blkdebug,image={below},node-name=bad,{_ERRORS}")

    def files(self) -> tuple[Path, Path]:
        bad = self.machine.file("bad", BAD_SIZE * MIB)
        # An NBD server reads no holes, and so meets no errors there.
        with open(bad, "r+b") as image:
            image.seek(32 * MIB)
            image.write(b"x" * 65536)
        return self.machine.file("cell", SIZE * MIB), bad

    # What the scenario asks for.

    def _resize_node(self, guest: Guest, size: int) -> None:
        guest.qmp.run("block_resize", size=size, **{"node-name": "cell"})

    def _resize(self, guest: Guest, args: list[str]) -> None:
        self.size = int(args[0])
        self.resize(guest, self.size * MIB)

    def _pull(self, guest: Guest, args: list[str]) -> None:
        name = self.plugged[0]["id"]
        guest.qmp.run("device_del", id=name)
        guest.qmp.wait_event("DEVICE_DELETED", 120, device=name)
        if self.connection:
            guest.qmp.run("chardev-remove", id=self.connection[0])

    def _push(self, guest: Guest, args: list[str]) -> None:
        if self.connection:
            name, path = self.connection
            where = {"addr": {"type": "unix", "data": {"path": path}}, "server": False, "reconnect-ms": 100}
            guest.qmp.run("chardev-add", id=name, backend={"type": "socket", "data": where})
        for device in self.plugged:
            guest.qmp.run("device_add", **device)

    def _told(self, guest: Guest, args: list[str]) -> None:
        """host cell MODE ASPECT yes|WHY NOT"""
        mode, aspect, *words = args
        self.results.setdefault(mode, {})[aspect] = " ".join(words).removeprefix("FAILED: ")

    def _limits(self, guest: Guest, args: list[str]) -> str:
        """host limits [WORD...]: keeps the C driver's, which outlive a guest; or tells them."""
        kept = self.results.setdefault("limits", {})
        if args:
            kept["c"] = " ".join(args)
        return kept.get("c", "")


@dataclasses.dataclass(frozen=True)
class Host:
    """A back end; `build` makes its nodes and devices."""

    name: str
    title: str
    build: Callable[[Cell], None]
    # Why a kind of disk has no such back end, or cannot do something there, in words; by kind, by aspect, or by both.
    without: dict[str, str] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    cpus: int = 2
    memory: str = "512M"
    deadline: float = 2400
    # With what it runs in a copy of the sysroot, see packages.py.
    packages: str = ""

    def cannot_do(self, kind: str, aspect: str) -> str:
        return self.without.get(aspect) or self.without.get(f"{kind} {aspect}") or ""

    def profile(self, kind: str) -> str:
        return f"hosts-{self.name}" + ("-scsi" if kind == "scsi" else "")


def _file(cell: Cell) -> None:
    _nodes_of_files(cell)
    cell.devices()


def _nodes_of_files(cell: Cell) -> None:
    good, bad = cell.files()
    cell.machine.blockdev(f"driver=file,filename={good},node-name=cell,discard=unmap")
    cell.machine.blockdev(f"driver=file,filename={bad},node-name=bad-file")
    cell.bad("bad-file")


def _qcow2(cell: Cell) -> None:
    cell.machine.disk_file("cell", SIZE * MIB)
    cell.machine.disk_file("bad-image", BAD_SIZE * MIB)
    cell.bad("bad-image")
    cell.devices()


def _iothread(cell: Cell) -> None:
    _nodes_of_files(cell)
    cell.machine.threads(1)
    cell.devices({"iothread": "io0"}, {"iothread": "io0"})


def _mapping(cell: Cell) -> None:
    _nodes_of_files(cell)
    threads = {"iothread-vq-mapping": cell.machine.threads(2)}
    cell.devices({"num-queues": 4, **threads}, {"num_queues": 4, **threads})


def _loop(cell: Cell) -> None:
    machine = cell.machine
    if not (machine.loop("cell", SIZE * MIB) and machine.loop("bad-device", BAD_SIZE * MIB)):
        raise Cannot(f"the machine of the tests makes no loop device: {machine.no_loop}")

    def resize(guest: Guest, size: int) -> None:
        path = cell.folder / "cell.img"
        os.truncate(path, size)
        found = subprocess.run(["losetup", "--noheadings", "--output", "NAME", "--associated", path],
                               capture_output=True, text=True, check=True)  # fmt: skip
        subprocess.run(["losetup", "--set-capacity", found.stdout.strip()], check=True)
        cell._resize_node(guest, size)

    cell.resize = resize
    cell.bad("bad-device")
    cell.devices()


def _nbd(cell: Cell) -> None:
    for name, path in zip(("cell", "bad"), cell.files()):
        socket = cell.folder / f"nbd-{name}"
        image = f"driver=file,filename={path},discard=unmap"
        if name == "bad":
            image = f"driver=blkdebug,image.driver=file,image.filename={path},{_ERRORS}"
        cell.machine.services.append(
            Service(["qemu-nbd", "--socket", socket, "--persistent", "--shared=8", "--discard=unmap", "--image-opts", image],
                    cell.folder / f"nbd-{name}.messages", socket.exists)
        )  # fmt: skip
        cell.machine.blockdev(f"driver=nbd,server.type=unix,server.path={socket},node-name={name},discard=unmap")
    cell.devices()


def _daemon(cell: Cell) -> None:
    good, bad = cell.files()
    daemon = Daemon(
        cell.folder,
        ["--blockdev", f"driver=file,filename={good},node-name=cell,discard=unmap",
         "--blockdev", f"driver=file,filename={bad},node-name=bad-file",
         "--blockdev", f"driver=blkdebug,image=bad-file,node-name=bad,{_ERRORS}"],
        ["cell", "bad"],
    )  # fmt: skip
    cell.machine.services.append(daemon)
    cell.connection = "cell", str(daemon.socket("cell"))
    cell.resize = lambda guest, size: daemon.ask("block_resize", size=size, **{"node-name": "cell"})
    for number, name in enumerate(("cell", "bad")):
        cell.machine.qemu += ["-chardev", f"socket,id={name},path={daemon.socket(name)},reconnect-ms=100"]
        device = {"driver": "vhost-user-blk-pci", "id": name, "chardev": name, "num-queues": 2, "addr": hex(0x10 + number)}
        cell.machine.device_json(**device)
        cell.plugged += [device] if name == "cell" else []


def _target(cell: Cell, unit: str) -> None:
    target = Target(cell.folder, {"cell": SIZE * MIB, "bad": BAD_SIZE * MIB})
    cell.machine.services.append(target)
    for name, number in (("cell", "1"), ("bad", "2")):
        target._do("update", "logicalunit", "--lun", number, "--params", "thin_provisioning=1")
        cell.machine.blockdev(target.blockdev(name) + ",discard=unmap")

    def spoil() -> str:
        # What is no more in the file cannot be read; a write would make it longer.
        os.truncate(cell.folder / "bad.lun", 32 * MIB)
        return "read"

    cell.spoil = spoil
    cell.devices(unit=unit)


def _ports(cell: Cell) -> None:
    _nodes_of_files(cell)
    cell.devices(ports=True)


def _iommu(cell: Cell) -> None:
    """With packed rings, see "platform" in profiles.py."""
    cell.machine.device_json(driver="intel-iommu")
    _nodes_of_files(cell)
    options = {"iommu_platform": True, "packed": True, "disable-legacy": "on"}
    cell.devices(options, options, ports=True)


def _bounce(cell: Cell) -> None:
    _nodes_of_files(cell)
    options = {"iommu_platform": True, "disable-legacy": "on"}
    cell.devices(options, options)


def _vhost_device(cell: Cell) -> None:
    image = vhost_device.written(cell.folder / "cell.img", SIZE * MIB)
    socket, service = vhost_device.serve(cell.folder, "vhost", [image])
    cell.machine.services.append(service)
    cell.machine.qemu += ["-chardev", f"socket,id=vhost,path={socket}"]
    # QEMU passes on that feature, though the back end has not offered it.
    cell.machine.device_json(
        driver="vhost-user-scsi-pci", id="cell", chardev="vhost", num_queues=1, param_change=False, addr="0x10"
    )


def _microvm(cell: Cell) -> None:
    """The disks by virtio-mmio; what the tests themselves need is on PCI."""
    _nodes_of_files(cell)
    for name in ("cell", "bad"):
        if cell.kind == "blk":
            cell.machine.device_json(driver="virtio-blk-device", id=name, drive=name, serial=name, **{"num-queues": 2})
    if cell.kind == "scsi":
        cell.machine.device_json(driver="virtio-scsi-device", id="hba", num_queues=2)
        disks = [
            {"driver": "scsi-hd", "bus": "hba.0", "scsi-id": n, "drive": name, "id": name, "serial": name}
            for n, name in enumerate(("cell", "bad"))
        ]
        for disk in disks:
            cell.machine.device_json(**disk)
        cell.plugged = disks[:1]


def _vduse(cell: Cell) -> None:
    """Its disks are made in the guest, by tests/guest/hosts-vduse.sh."""


_BLK_ONLY = "this protocol is of virtio-blk only"
_SCSI_PROTOCOL = "this protocol is of virtio-scsi only"
_SCSI_ONLY = "passes SCSI commands through, which virtio-blk has none of"
_NO_NEW_SIZE = "tgt gives a unit in use no new size"
_UNSEEN = "the command is answered; what tgt does about it shows nowhere"
_READS = "this back end only reads; the profile `scsi-vhost-device` verifies that"
_QEMU_11 = " ".join(f"{name}/trixie-backports" for name in ("qemu-system-x86", "qemu-utils", "qemu-block-extra"))
_Q35 = {"machine": "q35"}
_IOMMU = {**_Q35, "cmdline": ["intel_iommu=on", "iommu.strict=1"], "one_thread": True}
_PASSED = {"blk": _SCSI_ONLY, "resize": _NO_NEW_SIZE, "flush": _UNSEEN}
HOSTS = [
    Host("file", "QEMU's main loop, a raw file", _file),
    Host("qcow2", "QEMU's main loop, a qcow2 image", _qcow2),
    Host("iothread", "one I/O thread, a raw file", _iothread),
    Host("mapping", "two I/O threads for the queues of one disk (`iothread-vq-mapping`)", _mapping,
         {"scsi": "QEMU 10.0's SCSI host has one I/O thread for all its queues; QEMU 11's, below, has several"}, cpus=4),
    Host("qemu11", "QEMU 11's main loop, a raw file", _file, packages=_QEMU_11),
    Host("qemu11-mapping", "QEMU 11, two I/O threads for the queues of one disk", _mapping, cpus=4, packages=_QEMU_11),
    Host("loop", "a block device of the host (loop)", _loop),
    Host("nbd", "NBD (`qemu-nbd`)", _nbd, {"resize": "NBD has no message of a new size, to which QEMU's client would listen"}),
    Host("daemon", "`qemu-storage-daemon`, vhost-user-blk", _daemon, {"scsi": _BLK_ONLY}, {"shared_memory": True}),
    Host("vduse", "`qemu-storage-daemon`, VDUSE, in the guest", _vduse, {"scsi": _BLK_ONLY}),
    Host("iscsi", "an iSCSI unit (tgt, libiscsi) behind QEMU's own disk", lambda cell: _target(cell, "scsi-hd"),
         {"resize": _NO_NEW_SIZE, "flush": _UNSEEN}),
    Host("scsi-block", "the same unit passed through (`scsi-block`)", lambda cell: _target(cell, "scsi-block"), _PASSED),
    Host("scsi-generic", "the same by `scsi-generic`", lambda cell: _target(cell, "scsi-generic"), _PASSED),
    Host("vhost-device", "vhost-device-scsi, vhost-user-scsi", _vhost_device,
         {"blk": _SCSI_PROTOCOL, "resize": "this back end sends no events",
          "error": "this back end has no way to fail",
          "unplug": "after an unplug QEMU gets no answer from it by a second connection", **dict.fromkeys(("io", "flush", "discard"), _READS)},
         {"shared_memory": True}),
    Host("lio", "LIO's vhost-scsi, in the kernel of a guest with a guest in it", lambda cell: nested.build(cell.machine),
         {"blk": _SCSI_PROTOCOL, "resize": "vhost-scsi tells of units that come and go, not of a new size",
          "discard": "in Linux 7.3 LIO's page of block limits has 44 bytes, and `sd` takes UNMAP from one of 64 only"},
         memory="1536M", deadline=9000, packages=_QEMU_11),
    Host("q35", "q35, slots of PCI Express (`pcie-root-port`), a raw file", _ports, {}, _Q35),
    Host("iommu", "q35, an IOMMU (`iommu_platform=on`, packed rings), a raw file", _iommu, {}, _IOMMU),
    Host("bounce", "copied buffers (`swiotlb=force`), a raw file", _bounce, {}, {"cmdline": ["swiotlb=force"]}),
    Host("microvm", "microvm, virtio-mmio, a raw file", _microvm, {"blk unplug": "virtio-mmio has no way to unplug"},
         {"machine": "microvm,pcie=on,rtc=on,acpi=on", "cmdline": ["tsc_early_khz=2000000"]}),
]  # fmt: skip


class _HostProfile(Profile):
    def env(self) -> dict[str, str]:
        return {**super().env(), "VSR_HOST": self.name}


def rows() -> list[tuple[Host, str]]:
    return [(host, kind) for host in HOSTS for kind in ("blk", "scsi")]


def profiles() -> list[Profile]:
    """For names; `run` makes what is booted."""
    return [_profile(host, kind, {}) for host, kind in rows() if kind not in host.without]


def _profile(host: Host, kind: str, results: dict[str, dict[str, str]]) -> Profile:
    return _HostProfile(
        host.profile(kind), (SCENARIO,), lambda machine: host.build(Cell(machine, kind, host, results)),
        MODES if kind == "blk" else ("scsi",), "virtio_blk" if kind == "blk" else "virtio_scsi",
        cpus=host.cpus, memory=host.memory, deadline=host.deadline, options=host.options,
    )  # fmt: skip


def run(name: str, driver: Driver, wanted: set[str]) -> list[Outcome]:
    """Runs a row and keeps what came of it."""
    [(host, kind)] = [(host, kind) for host, kind in rows() if host.profile(kind) == name]
    if host.packages and not packages.within():
        return packages.run(host.packages, name, [case for case in cases_of(_profile(host, kind, {}), driver) if case in wanted])
    results: dict[str, dict[str, str]] = {}
    profile = _profile(host, kind, results)
    missing = ""
    try:
        outcomes = run_profile(profile, driver, wanted)
    except Cannot as err:
        missing = str(err)
        outcomes = [Outcome(name, case, True, missing, 0, True) for case in cases_of(profile, driver) if case in wanted]
        for outcome in outcomes:
            report(outcome)
    for outcome in outcomes:
        cell = results.setdefault(outcome.case.split(":")[0], {})
        for aspect in ASPECTS:
            if not host.cannot_do(kind, aspect) and aspect not in cell:
                cell[aspect] = outcome.note or "not told"
    results.pop("limits", None)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    row = {"date": time.strftime("%Y-%m-%d"), "qemu": version.split()[3], "kernel": kernel().release,
           "missing": missing, "cells": results}  # fmt: skip
    if path.exists():
        row["cells"] = {**json.loads(path.read_text())["cells"], **results}
    path.write_text(json.dumps(row, indent=1))
    return outcomes
