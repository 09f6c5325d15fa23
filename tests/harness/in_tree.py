# SPDX-License-Identifier: GPL-2.0
"""The drivers built into a kernel of their own, which boots from /dev/vda or /dev/sda without an initramfs.

Nothing of the usual guest is there, neither its root nor its ports: the kernel is the lean one of
scripts/lean-kernel, the root an image with busybox, and the serial console tells what came of it.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from guest import Driver, accel
from guest.paths import DISKS, LOGS, SRC

from .profiles import MODES
from .runner import Outcome, conclude, console_verdict

PROFILE = "in-tree"
# QEMU's machine, the ending of its devices' names, and what the kernel must be told. The microvm has no clock but the
# PIT, by which a kernel on a busy host finds the TSC's rate once in a while only; any rate will do here.
MACHINES = {
    "built-in": ("pc", "pci", ""),
    "built-in-mmio": ("microvm", "device", "tsc_early_khz=2000000"),
}
DEADLINE = 300
INIT = SRC / "tests/in-tree/init"


def cases(driver: Driver) -> list[str]:
    """None for the C driver: the lean kernel does not have it."""
    if driver is Driver.C:
        return []
    return [f"{mode}:{scenario}" for scenario in MACHINES for mode in MODES] + ["scsi:built-in"]


def _lean_kernel() -> Path:
    done = subprocess.run(
        [SRC / "scripts/lean-kernel"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError("the lean kernel could not be compiled")
    return Path(done.stdout.strip())


def _version(driver: str, folder: str) -> str:
    """What the driver's source calls its version."""
    source = (SRC / "drivers" / folder / driver / f"{driver}.rs").read_text()
    return source.split(f'module_version!("{driver}", "')[1].split('"')[0]


def _unit_tests(driver: str, folder: str) -> int:
    """How many KUnit tests the driver has."""
    count = (SRC / "drivers" / folder / driver / "kunit.rs").read_text().count("#[test]\n")
    if count == 0:
        raise RuntimeError(f"no unit tests of {driver} were found")
    return count


def _root_image(folder: Path, kernel: Path) -> tuple[Path, bytes]:
    """An ext4 image with all that the guest needs; nothing is mounted to make it."""
    root = folder / "root"
    for name in ("bin", "sbin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    applets = subprocess.run(
        [root / "bin/busybox", "--list"], capture_output=True, text=True, check=True
    )
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    shutil.copy(INIT, root / "sbin/init")
    for sample in ("rust_bio_ram_disk", "rust_scsi_ram_host"):
        shutil.copy(kernel / f"{sample}.ko", root)
    for driver, place in (("virtio_blk", "block"), ("virtio_scsi", "scsi")):
        (root / f"version.{driver}").write_text(_version(driver, place) + "\n")
        (root / f"tests.{driver}").write_text(f"{_unit_tests(driver, place)}\n")
    payload = os.urandom(8 << 20)
    (root / "payload").write_bytes(payload)
    image = folder / "root.img"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", root, image, "64M"], stdin=subprocess.DEVNULL, check=True
    )
    return image, payload


def _boot(mode: str, scenario: str, kernel: Path, image: Path, console: Path) -> str:
    """Run the guest; what it says goes to `console`. Returns what was wrong with QEMU itself."""
    machine, kind, words = MACHINES[scenario]
    if mode == "scsi":
        disk, parameters = "sda", "virtio_scsi.virtscsi_timeouts=5"
        devices = [
            "-device", f"virtio-scsi-{kind},id=hba,num_queues=2",
            "-device", "scsi-hd,bus=hba.0,scsi-id=3,drive=root,serial=root",
        ]  # fmt: skip
    else:
        disk, parameters = "vda", f"virtio_blk.use_bio={int(mode == 'bio')} virtio_blk.num_request_queues=1"
        devices = ["-device", f"virtio-blk-{kind},drive=root,serial=root,num-queues=2"]
    append = (
        f"console=ttyS0 loglevel=5 printk.devkmsg=on panic=-1 {words} root=/dev/{disk} rootfstype=ext4 rw {parameters}"
        # allnoconfig has no unit tests that run by themselves.
        " kunit.enable=1 kunit.autorun=1"
    )
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", machine, *accel.qemu_args(), "-smp", "2", "-m", "256M",
        "-kernel", str(kernel / "vmlinux"), "-append", append,
        "-serial", f"file:{console}",
        "-blockdev", f"driver=file,filename={image},node-name=root",
        *devices,
        "-device", f"virtio-rng-{kind}",
    ]  # fmt: skip
    console.with_name("command").write_text(shlex.join(command) + "\n")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {DEADLINE} s, killed"
    console.with_name("qemu.log").write_text(done.stderr)
    return "" if done.returncode == 0 else f"QEMU: {done.stderr.strip()[-200:]}"


def _image_verdict(image: Path, payload: bytes) -> str:
    """What the host, without our driver, finds wrong with the root that the guest left."""
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        return f"e2fsck: {checked.stdout.strip().splitlines()[-1:]}"
    read = subprocess.run(["debugfs", "-R", "cat /copy", image], capture_output=True, check=False)
    return "" if read.stdout == payload else "the file that the guest wrote is not in the image"


def run(case: str) -> list[Outcome]:
    mode, scenario = case.split(":")
    log = LOGS / f"rs-{scenario}-{mode}"
    log.mkdir(parents=True, exist_ok=True)
    console = log / "console.log"
    with open(f"{log}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = DISKS / log.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        console.unlink(missing_ok=True)
        begin = time.monotonic()
        try:
            kernel = _lean_kernel()
            begin = time.monotonic()
            image, payload = _root_image(folder, kernel)
            why = _boot(mode, scenario, kernel, image, console)
            lines = console.read_text(errors="replace").splitlines() if console.exists() else []
            why = why or console_verdict(lines) or _image_verdict(image, payload)
        except (RuntimeError, OSError, subprocess.SubprocessError) as err:
            why, lines = str(err), []
        outcome = Outcome(PROFILE, case, not why, why, time.monotonic() - begin)
        return conclude(outcome, lines, log, folder)
