# SPDX-License-Identifier: GPL-2.0
"""Disks by virtio-mmio, on QEMU's microvm or arm64's `virt`: `make test-full`. What the guest itself needs is on PCI."""

from .profiles import Machine, Profile

SCENARIOS = ("fio-direct", "filesystems")
_OPTIONS = {"machine": "microvm,pcie=on,rtc=on,acpi=on"}
_MODERN = ["-global", "virtio-mmio.force-legacy=false"]
_DISKS = (("data", 512), ("data4k", 4096))


def _nodes(machine: Machine) -> None:
    for name, _ in _DISKS:
        machine.blockdev(f"driver=file,filename={machine.file(name, 512 << 20)},node-name={name}")


def _legacy(machine: Machine) -> None:
    """As QEMU has it by default."""
    _nodes(machine)
    for name, block in _DISKS:
        machine.qemu += [
            "-device",
            f"virtio-blk-device,drive={name},id={name},serial={name},num-queues=2,"
            f"logical_block_size={block},physical_block_size=4096",
        ]


def _modern(machine: Machine) -> None:
    machine.qemu += _MODERN
    _legacy(machine)


def _scsi(machine: Machine) -> None:
    machine.qemu += [*_MODERN, "-device", "virtio-scsi-device,id=hba,num_queues=2"]
    machine._hba = "hba"
    _nodes(machine)
    for target, (name, block) in enumerate(_DISKS):
        machine.unit(name, target, 0, f"logical_block_size={block},physical_block_size=4096")


class _MmioProfile(Profile):
    def env(self) -> dict[str, str]:
        # Nothing else asks for it: there is no udev.
        return {**super().env(), "VSR_MODPROBE": "virtio_mmio"}


PROFILES = [
    _MmioProfile("mmio", SCENARIOS, _modern, options=_OPTIONS),
    _MmioProfile("mmio-legacy", SCENARIOS, _legacy, options=_OPTIONS),
    _MmioProfile("scsi-mmio", SCENARIOS, _scsi, ("scsi",), "virtio_scsi", options=_OPTIONS),
]
