# SPDX-License-Identifier: GPL-2.0
"""A guest that sleeps and wakes under I/O: each stage on the way to RAM, suspend to idle, hibernation.

The usual guest's root comes by 9p, whose driver does not survive sleep. So this one has all that it
needs in its initramfs, and tells what comes of it on the serial console.
"""

import shlex
import socket
import subprocess
import time
from pathlib import Path

from guest import Driver, Qmp, accel, initrd

from . import initramfs
from .profiles import module_of
from .runner import Outcome, conclude, console_verdict, folders

SCENARIO = "suspend"
DEADLINE = 600
# The kernel's word that all devices are asleep. That it wakes has "resume from" before it.
ASLEEP = "PM: suspend-to-idle"
# The kernel's word that it has its image on the disk, and goes off.
HIBERNATES = "Image saving done"
# Of so many MiB; and what the disk has after the first sleep, as tests/initramfs/suspend knows.
IMAGES = {"disk": 288, "swap": 384}
GROWN = 320


# In C, who polls is frozen, and its I/O with it: the driver would wait for ever.
PARAMETERS = {
    "request": "use_bio=0 poll_queues=1",
    "bio": "use_bio=1 poll_queues=1",
    "scsi": "virtscsi_poll_queues=1",
    "c": "",
}


# Behind a bridge of its own a function can be reset, with its bus.
BRIDGE = ["-device", "pci-bridge,id=bridge,chassis_nr=1,shpc=off"]
DEVICES = {
    "virtio_blk": [
        *BRIDGE,
        "-device", "virtio-blk-pci,drive=disk,serial=disk,num-queues=2,bus=bridge,addr=1",
        "-device", "virtio-blk-pci,drive=swap,serial=swap,num-queues=2",
    ],
    "virtio_scsi": [
        *BRIDGE,
        "-device", "virtio-scsi-pci,id=hba,num_queues=2,bus=bridge,addr=1",
        "-device", "scsi-hd,bus=hba.0,scsi-id=3,drive=disk,serial=disk",
        "-device", "scsi-hd,bus=hba.0,scsi-id=4,drive=swap,serial=swap",
    ],
}  # fmt: skip


def _images(folder: Path) -> list[str]:
    arguments = []
    for name, mib in IMAGES.items():
        with open(folder / name, "wb") as file:
            file.truncate(mib << 20)
        arguments += ["-blockdev", f"driver=file,filename={folder / name},node-name={name}"]
    return arguments


def _text(console: Path) -> str:
    return console.read_text(errors="replace") if console.exists() else ""


def _boot(devices: list[str], image: Path, console: Path, parameter: str, end: float) -> str:
    """Run the guest until it is off; what it says goes on in `console`. Returns what was wrong with QEMU itself."""
    clock = " ".join(accel.clock_words())
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        # A function that is reset moves the map of memory, and two threads of TCG fall over it ("iotlb_to_section").
        "-machine", "pc", *accel.qemu_args(one_thread=True), "-smp", "2", "-m", "512M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(image),
        "-append", f"console=ttyS0 quiet loglevel=6 no_timer_check tsc=reliable {clock} mitigations=off nokaslr panic=-1 "
        f"printk.devkmsg=on sysrq_always_enabled no_console_suspend suspend.pm_test_delay=1 sysctl.kernel.hung_task_timeout_secs=60 {parameter}",
        "-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console",
        *devices,
    ]  # fmt: skip
    console.with_name("command").write_text(shlex.join(command) + "\n")
    monitor, monitor_qemu = socket.socketpair()
    fd = monitor_qemu.fileno()
    command += ["-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control"]
    with (
        open(console.with_name("qemu.log"), "ab") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, pass_fds=[fd]) as process,
    ):
        monitor_qemu.close()
        qmp = Qmp(monitor)
        try:
            _wake(process, console, qmp, end)
            return "" if process.wait(10) == 0 else f"QEMU ended with {process.returncode}"
        except TimeoutError:
            qmp.show_blocked()
            return f"not finished after {DEADLINE} s, killed"
        finally:
            process.kill()
            monitor.close()


def _wake(process: subprocess.Popen[bytes], console: Path, qmp: Qmp, end: float) -> None:
    """Wake the guest when it is asleep, until it ends; with a larger disk than before."""
    woken = _text(console).count(ASLEEP)
    while process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)
        if _text(console).count(ASLEEP) > woken:
            qmp.run("block_resize", **{"node-name": "disk", "size": GROWN << 20})
            # The power button. A wake-up before that line would have been lost.
            qmp.run("system_powerdown")
            woken += 1


def run(case: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    mode, scenario = case.split(":")
    name = f"{driver.value}-{scenario}-{mode}"
    log, folder = folders(name)
    console = log / "console.log"
    devices = _images(folder) + DEVICES[module_of(case)]
    image = initramfs.write(folder, "suspend", case, PARAMETERS[mode], ["/usr/bin/fio"])
    end = begin + DEADLINE
    why = _boot(devices, image, console, "", end)
    # Else it is off because it failed before, and says why itself.
    if not why and HIBERNATES in _text(console):
        why = _boot(devices, image, console, "vsr.resume", end)
    lines = _text(console).splitlines()
    why = why or console_verdict(lines)
    outcome = Outcome(SCENARIO, case, not why, why, time.monotonic() - begin)
    return conclude(outcome, lines, log, folder)
