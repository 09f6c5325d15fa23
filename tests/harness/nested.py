# SPDX-License-Identifier: GPL-2.0
"""A guest in a guest: for LIO's vhost-scsi, which is in the kernel of the host.

Emulated twice, its kernel would boot for ten minutes. So it boots out here, is saved, and goes on in the other guest, where
tests/guest/hosts-lio.py gives it its disks.
"""

import json
import time
from pathlib import Path

from guest import initrd

from . import initramfs
from .profiles import Machine
from .snapshot import Machine as Saved

_BOOT = 600


def build(machine: Machine) -> None:
    """A guest for each driver, in a folder of its name, which `host nested` tells."""
    for mode in ("c", "scsi"):
        folder = machine.folder / mode
        folder.mkdir()
        _save(folder, mode)
    machine.handlers["nested"] = lambda guest, args: str(machine.folder)


def _save(folder: Path, mode: str) -> None:
    """Its `command`, but for console, second line and monitor; and its `state`."""
    image = initramfs.write(folder, "nested", f"{mode}:scsi-hosts", "", ["/usr/bin/sg_reset", "/usr/bin/sg_persist"])
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        # Whatever this machine has: in there, it is TCG. Its clock counts instructions, eight nanoseconds each: by that of the world,
        # it would have a tick of the timer to handle before it is done with the one before.
        "-machine", "pc", "-accel", "tcg,tb-size=64", "-icount", "shift=3", "-bios", "qboot.rom", "-smp", "1", "-m", "256M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(image),
        "-append", "console=ttyS0 quiet loglevel=7 no_timer_check tsc=reliable tsc_early_khz=1000000 mitigations=off nokaslr panic=-1 "
        "printk.devkmsg=on nowatchdog rcupdate.rcu_cpu_stall_suppress=1 sysctl.kernel.hung_task_timeout_secs=0",
    ]  # fmt: skip
    (folder / "command.json").write_text(json.dumps(command))
    console = folder / "console.log"
    here = ["setpriv", "--pdeathsig", "KILL", *command, "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"]
    saved = Saved(here, console, folder, time.monotonic() + _BOOT)
    saved.start()
    try:
        saved.wait("guest that is ready", lambda: "vsr ready" in saved.said())
        saved.qmp.run("stop")
        saved.qmp.run("migrate-set-parameters", **{"max-bandwidth": 1 << 32})
        saved.migrate("migrate", f"file:{folder / 'state'}")
        saved.end()
    finally:
        saved.kill()
