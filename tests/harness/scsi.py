# SPDX-License-Identifier: GPL-2.0
"""Machine profiles of SCSI hosts, and what their scenarios ask the host for."""

from guest import Guest
from guest.paths import debug

from . import vhost_device
from .iscsi import Target
from .profiles import CAMPAIGN, CAMPAIGN_DEADLINE, Machine, Profile, chosen, disks_of_campaign, liars, shutdown, stopped

SCSI = ("scsi",)


def stall(guest: Guest, args: list[str]) -> None:
    """host stall on|off NAME: the disk answers nothing more; or does again."""
    command, name = args
    # 0 is no limit; with a byte a second, a command takes an hour.
    rate = 1 if command == "on" else 0
    guest.qmp.run("qom-set", path=f"/objects/{name}-limit", property="limits", value={"bps-total": rate})


def lun(guest: Guest, args: list[str]) -> None:
    """host lun add NAME TARGET LUN NODE | del NAME"""
    command, name, *where = args
    if command == "add":
        target, number, node = where
        guest.qmp.run("device_add", driver="scsi-hd", bus="hba.0", id=name, serial=name, drive=node,
                      lun=int(number), **{"scsi-id": int(target)})  # fmt: skip
    else:
        guest.qmp.run("device_del", id=name)


def plug_hba(guest: Guest, args: list[str]) -> None:
    """host plug-hba: the host comes back, without its disks."""
    options: dict[str, str | int] = dict(item.split("=") for item in HBA_DEVICE.split(",")[1:])
    guest.qmp.run("device_add", driver="virtio-scsi-pci", **{**options, "num_queues": 2})


HANDLERS = {"stall": stall, "lun": lun, "plug-hba": plug_hba}


def _scsi(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2")
    machine.lun("data", 0, size=512 << 20)
    machine.lun("data4k", 1, 3, "logical_block_size=4096,physical_block_size=4096", size=256 << 20)
    machine.lun("high", 255, 300)
    machine.lun("cd", 7, 0, kind="scsi-cd", content=b"disc" * 512, size=1 << 20)
    machine.disk_file("qcow", 256 << 20)
    machine.unit("thin", 8, 0, "discard_granularity=65536", node="qcow")
    if machine.loop("loop", 128 << 20):
        machine.unit("loop", 9)
    for iotype, target in (("read", 20), ("write", 21), ("flush", 22)):
        machine.faulty_node(f"bad-{iotype}", iotype, 5, None if iotype == "flush" else 2048)
        machine.unit(f"bad-{iotype}", target, 0, "rerror=report,werror=report")
    machine.faulty_node("no-space", "write", 28)
    machine.unit("no-space", 23, 0, "rerror=report,werror=report")


def _scsi_hotplug(machine: Machine) -> None:
    machine.qemu += ["-device", HBA_DEVICE]
    machine._hba = "hba"
    machine.lun("data", 0)
    machine.lun("data4k", 1, 3, "logical_block_size=4096,physical_block_size=4096")
    machine.lun("resize", 2)
    for name in (f"plug{n}" for n in range(6)):
        path = machine.file(name, 16 << 20)
        machine.blockdev(f"driver=file,filename={path},node-name={name}")


HBA_DEVICE = "virtio-scsi-pci,id=hba,num_queues=2,addr=0x10"


def _scsi_stall(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2")
    machine.lun("data", 0)
    machine.qemu += ["-object", "throttle-group,id=stall-limit"]
    path = machine.file("stall", 64 << 20)
    machine.blockdev(f"driver=file,filename={path},node-name=stall-file")
    machine.blockdev("driver=throttle,throttle-group=stall-limit,file=stall-file,node-name=stall")
    machine.unit("stall", 1)
    machine.blockdev("driver=null-co,size=67108864,read-zeroes=on,latency-ns=5000000000,node-name=late")
    machine.unit("late", 2)
    machine.blockdev("driver=null-co,size=1048576,read-zeroes=on,node-name=data-new")


def _scsi_iothread(machine: Machine) -> None:
    machine.qemu += ["-object", "iothread,id=io0"]
    # Without indirect descriptors the ring is full long before the host's queue is.
    machine.hba("hba", "num_queues=2,iothread=io0,packed=on,indirect_desc=off")
    machine.lun("data", 0, size=512 << 20)
    machine.lun("data4k", 1, 3, "logical_block_size=4096,physical_block_size=4096", size=256 << 20)
    machine.disk_file("qcow", 256 << 20)
    machine.unit("thin", 8, 0, "discard_granularity=65536", node="qcow")
    if machine.loop("loop", 128 << 20):
        machine.unit("loop", 9)


def _scsi_platform(machine: Machine) -> None:
    """A host behind an IOMMU, which PCI Express can reset; with packed rings, see profiles.py."""
    machine.qemu += ["-device", "intel-iommu"]
    # Only what is behind a port is a PCI Express device, and has a reset of its own.
    machine.qemu += ["-device", "pcie-root-port,id=express,slot=1,chassis=1"]
    machine.hba("hba", "iommu_platform=on,packed=on,num_queues=2,bus=express")
    machine.lun("data", 0)
    machine.lun("cd", 7, 0, kind="scsi-cd", content=b"disc" * 512, size=1 << 20)
    machine.blockdev("driver=null-co,size=1048576,read-zeroes=on,node-name=data-new")


def _scsi_lies(machine: Machine) -> None:
    for name in liars():
        machine.vhost_user_scsi(name, [{"target": 0, "serial": name}])


def _scsi_lies_kinds(machine: Machine) -> None:
    for kind in chosen("VSR_KINDS").split():
        machine.vhost_user_scsi(kind, [{"target": 0, "serial": kind}])


def _scsi_campaign(machine: Machine) -> None:
    for name, file, port in disks_of_campaign(machine):
        machine.vhost_user_scsi(name, [{"target": 0, "serial": name, "blocks": 1 << 20, "file": str(file)}], bus=port, latency_ms=1)
    machine.hba("qemu-hba", f"num_queues=2,bus={machine.port(0)}")
    machine.lun("qemu", 0, size=512 << 20)


def _scsi_lost(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2")
    machine.lun("data", 0)
    machine.lun("second", 1, 3)
    machine.lun("cd", 7, 0, kind="scsi-cd", content=b"disc" * 512, size=1 << 20)
    machine.blockdev("driver=null-co,size=1048576,read-zeroes=on,node-name=data-new")


def _scsi_many(machine: Machine) -> None:
    """1,000 disks; 200 on the debug kernel, where lockdep has no room for all of their locks."""
    machine.hba("hba", "num_queues=2")
    for target in range(50 if debug() else 250):
        for lun in range(4):
            name = f"d{target}-{lun}"
            machine.blockdev(f"driver=null-co,size={64 << 20},read-zeroes=on,node-name={name}")
            machine.unit(name, target, lun)


def _scsi_shutdown(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2")
    shutdown(machine)


def _scsi_stopped(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2")
    stopped(machine)


def _scsi_passthrough(machine: Machine) -> None:
    """Units of an iSCSI target, whose own answers reach the guest."""
    target = machine.iscsi = Target(machine.folder, {"block": 128 << 20, "generic": 128 << 20})
    machine.services.append(target)
    machine.hba("hba", "num_queues=2")
    for number, name in enumerate(("block", "generic")):
        machine.blockdev(target.blockdev(name))
        machine.qemu += ["-device", f"scsi-{name},bus=hba.0,scsi-id={number},lun={number},drive={name},id={name}"]


def two_initiators(machine: Machine, units: list[str]) -> None:
    """A unit that two hosts of the guest reach, each as an initiator of its own. `units`: its nodes."""
    for number, node in enumerate(units):
        machine.hba(f"hba{number}", "num_queues=2")
        machine.qemu += ["-device", f"scsi-block,bus=hba{number}.0,scsi-id={number + 1},lun=0,drive={node},id={node}"]


def _scsi_initiators(machine: Machine) -> None:
    target = Target(machine.folder, {"shared": 64 << 20})
    machine.services.append(target)
    for name in ("one", "two"):
        machine.blockdev(target.blockdev("shared", name, name))
    two_initiators(machine, ["one", "two"])


def _scsi_vhost_device(machine: Machine) -> None:
    images = [vhost_device.written(machine.folder / f"image{n}.img", (8 << 20) * (n + 1)) for n in range(3)]
    socket, service = vhost_device.serve(machine.folder, "vhost", images)
    machine.services.append(service)
    machine.qemu += ["-chardev", f"socket,id=vhost,path={socket}"]
    # QEMU passes on that feature, though the back end has not offered it.
    machine.qemu += ["-device", "vhost-user-scsi-pci,chardev=vhost,id=vhost,num_queues=1,param_change=off"]


def _scsi_udev(machine: Machine) -> None:
    machine.hba("hba", "num_queues=2,addr=0x10")
    # Not in the order of their addresses.
    for target, lun in ((9, 0), (0, 0), (4, 300), (4, 0), (1, 3)):
        machine.lun(f"disk{target}-{lun}", target, lun)
    machine.lun("cd", 7, 0, kind="scsi-cd", content=b"disc" * 512, size=1 << 20)


def _scsi_device(machine: Machine) -> None:
    """Hosts of our own; see tests/device/src/scsi/settings.rs."""
    machine.vhost_user_scsi(
        "own",
        [
            {"target": 0, "serial": "own"},
            {"target": 1, "lun": 3, "serial": "own4k", "block": 4096, "blocks": 16384},
            {"target": 255, "lun": 300, "serial": "high", "blocks": 2048},
            {"target": 2, "serial": "as-qemu", "vendor": "QEMU"},
            {"target": 3, "serial": "actuators", "actuators": 8},
        ],
    )
    machine.vhost_user_scsi(
        "pi",
        [
            {"target": 0, "serial": "pi", "protected": True},
            {"target": 1, "serial": "pi4k", "protected": True, "block": 4096, "blocks": 16384},
            {"target": 2, "serial": "plain"},
        ],
        t10_pi=True,
    )


PROFILES = [
    Profile(
        "scsi",
        ("scsi-identity", "fio-direct", "fio-buffered", "mmap", "trace", "filesystems", "scsi-luns",
         "scsi-tools", "scsi-counters", "scsi-loop", "scsi-errors", "scsi-poll"),
        _scsi, SCSI, "virtio_scsi",
    ),
    Profile(
        "scsi-hotplug", ("scsi-plug", "scsi-resize", "scsi-unplug", "scsi-reload"),
        _scsi_hotplug, SCSI, "virtio_scsi",
    ),
    Profile("scsi-stall", ("scsi-stall", "scsi-abort", "scsi-stalled-unbind"), _scsi_stall, SCSI, "virtio_scsi", waits=True),
    Profile("scsi-iothread", ("fio-direct", "filesystems", "scsi-loop"), _scsi_iothread, SCSI, "virtio_scsi"),
    Profile(
        "scsi-platform", ("scsi-reset",), _scsi_platform, SCSI, "virtio_scsi",
        # See "platform" in profiles.py.
        options={"machine": "q35", "cmdline": ["intel_iommu=on", "iommu.strict=1"], "one_thread": True},
        waits=True,
    ),
    # See "platform" in profiles.py.
    Profile("scsi-lost", ("scsi-lost",), _scsi_lost, SCSI, "virtio_scsi", options={"one_thread": True}, waits=True),
    Profile(
        "scsi-device", ("scsi-device", "scsi-pi", "scsi-answers"), _scsi_device, SCSI, "virtio_scsi", options={"shared_memory": True},
    ),
    Profile(
        "scsi-device-late", ("scsi-ladder", "scsi-query", "watch"), _scsi_device, SCSI, "virtio_scsi",
        options={"shared_memory": True}, waits=True,
    ),
    Profile(
        "scsi-sample", ("scsi-ram-host",), lambda machine: None, SCSI, "rust_scsi_ram_host",
    ),
    Profile(
        "scsi-vhost-device", ("scsi-vhost-device",), _scsi_vhost_device, SCSI, "virtio_scsi",
        options={"shared_memory": True},
    ),
    Profile(
        "scsi-campaign", ("campaign",), _scsi_campaign, SCSI, "virtio_scsi", deadline=CAMPAIGN_DEADLINE, options=CAMPAIGN,
    ),
    Profile("scsi-lies", ("lies",), _scsi_lies, SCSI, "virtio_scsi", deadline=14400, blkdev=True, options={"shared_memory": True}),
    Profile("scsi-stopped", ("stopped",), _scsi_stopped, SCSI, "virtio_scsi", waits=True),
    Profile("scsi-shutdown", ("shutdown",), _scsi_shutdown, SCSI, "virtio_scsi"),
    Profile("scsi-passthrough", ("scsi-passthrough",), _scsi_passthrough, SCSI, "virtio_scsi"),
    Profile("scsi-initiators", ("pr-cases",), _scsi_initiators, SCSI, "virtio_scsi"),
    Profile(
        "scsi-udev", ("scsi-udev",), _scsi_udev, SCSI, "virtio_scsi",
        options={"udev": True, "installed": True, "cmdline": ["virtio_scsi.virtscsi_timeouts=some"]},
    ),
    Profile("scsi-many", ("scsi-many",), _scsi_many, SCSI, "virtio_scsi", memory="3G"),
]  # fmt: skip

# What the driver makes of each kind of lie.
LIES_KINDS = Profile(
    "scsi-lies-kinds", ("lies-kinds",), _scsi_lies_kinds, SCSI, "virtio_scsi", deadline=3600, blkdev=True, options={"shared_memory": True},
)
