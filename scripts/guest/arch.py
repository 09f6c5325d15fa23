# SPDX-License-Identifier: GPL-2.0
"""What differs between the architectures of guests."""

import os
from pathlib import Path

from .paths import GUEST_ROOT

# As KERNEL_RELEASE ends; another architecture than this machine's has a root of its own.
NAME = "amd64" if GUEST_ROOT == Path("/") else "arm64"
NATIVE = os.uname().machine == {"amd64": "x86_64", "arm64": "aarch64"}[NAME]

if NAME == "amd64":
    QEMU = "qemu-system-x86_64"
    CONSOLE = "ttyS0"
    MACHINES: dict[str, str] = {}
    # Not SeaBIOS: it leaves the rings of all disks active in memory at the end of the RAM. Those of more than
    # a few reach down to where QEMU puts the initramfs, and each breaks the other.
    FIRMWARE = ["-bios", "qboot.rom"]
    EMULATED_CPU: list[str] = []
    PLUG_PORT = False
    COMMAND_LINE: list[str] = []
else:
    QEMU = "qemu-system-aarch64"
    CONSOLE = "ttyAMA0"
    # Profiles name the machines of a PC.
    MACHINES = dict.fromkeys(("pc", "q35", "microvm,pcie=on,rtc=on,acpi=on"), "virt,gic-version=3")
    FIRMWARE = []
    # One that knows pages of 16 KiB; `max` spends its time on authenticated pointers.
    EMULATED_CPU = ["-cpu", "neoverse-n1"]
    # What comes and goes has to be behind a port of PCI Express.
    PLUG_PORT = True
    # Asleep, such a port of QEMU's tells nobody that something was plugged in.
    COMMAND_LINE = ["pcie_port_pm=off"]
