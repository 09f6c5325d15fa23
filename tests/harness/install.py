# SPDX-License-Identifier: GPL-2.0
"""What README's installation leads to: scripts/install into a root that has the real initramfs-tools, the initramfs that
these make, and guests with the stock kernel that boot from it with their root on /dev/vda or /dev/sda.
"""

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from guest import Driver, accel, initrd
from guest.modules import OUR_MODULES, build_id, our_module
from guest.paths import DISKS, LOGS, SRC, outside, stock_kernel

from .runner import Outcome, conclude, console_verdict

PROFILE = "install"
SCENARIO = "installed"
DEADLINE = 300
HERE = SRC / "tests/install"
# Where the modules must be in the image, and nowhere else.
PLACES = {"virtio_blk": "drivers/block", "virtio_scsi": "drivers/scsi"}
GUESTS = {
    "request": ("vda", "", ["-device", "virtio-blk-pci,drive=root,num-queues=2"]),
    "bio": ("vda", "virtio_blk.use_bio=1", ["-device", "virtio-blk-pci,drive=root,num-queues=2"]),
    "scsi": (
        "sda", "virtio_scsi.virtscsi_timeouts=5",
        ["-device", "virtio-scsi-pci,id=hba", "-device", "scsi-hd,bus=hba.0,drive=root"],
    ),
}  # fmt: skip


def cases(driver: Driver) -> list[str]:
    """None for the C driver, which needs no installation."""
    return [] if driver is Driver.C else [f"{mode}:{SCENARIO}" for mode in GUESTS]


def _initramfs(folder: Path, log: Path) -> tuple[Path, str]:
    """The image, and what is wrong with its contents, or with what uninstalling left."""
    release, _ = stock_kernel()
    modules = [our_module(name) for name in OUR_MODULES]
    with open(log / "install.log", "wb") as out:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "unchanged", HERE / "make-image", folder, release, *modules],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=DEADLINE, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        last = (log / "install.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"installing failed: {last}, see {outside(log)}/install.log")
    for listing in ("list", "list-fewest"):
        paths = (folder / listing).read_text().split()
        for name in OUR_MODULES:
            found = [path for path in paths if Path(path).name.startswith(f"{name}.ko")]
            if [path.split(release)[1] for path in found] != [f"/updates/{PLACES[name]}/{name}.ko"]:
                return folder / "initrd", f"{listing}: the initramfs has {found}"
    left = (folder / "left").read_text().split()
    return folder / "initrd", f"uninstalling left {left}" if left else ""


def _root_image(folder: Path) -> Path:
    """An ext4 image with busybox and an init of ours; nothing is mounted to make it."""
    root = folder / "system"
    for name in ("bin", "sbin", "dev", "proc", "sys", "run", "root", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init", root / "sbin/init")
    for name in OUR_MODULES:
        (root / f"build-id.{name}").write_text(build_id(our_module(name)))
    (root / "payload").write_bytes(os.urandom(8 << 20))
    image = folder / "root.img"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", root, image, "64M"], stdin=subprocess.DEVNULL, check=True
    )
    return image


def _boot(mode: str, image: Path, initramfs: Path, console: Path) -> str:
    """Run the guest; what it says goes to `console`. Returns what was wrong with QEMU itself."""
    disk, parameter, devices = GUESTS[mode]
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "pc", *accel.qemu_args(), "-smp", "2", "-m", "512M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(initramfs),
        "-append", "console=ttyS0 quiet loglevel=6 no_timer_check tsc=reliable mitigations=off nokaslr panic=-1 "
        f"printk.devkmsg=on root=/dev/{disk} rootfstype=ext4 fsck.mode=skip ro {parameter}",
        "-serial", f"file:{console}",
        "-blockdev", f"driver=file,filename={image},node-name=root",
        *devices,
    ]  # fmt: skip
    console.with_name("command").write_text(shlex.join(command) + "\n")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {DEADLINE} s, killed"
    return "" if done.returncode == 0 else f"QEMU: {done.stderr.strip()[-200:]}"


def run(wanted: set[str]) -> list[Outcome]:
    """One installation, then a boot for each of the cases; the first case's time has the installation in it."""
    begin = time.monotonic()
    place = DISKS / f"rs-{SCENARIO}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    first = LOGS / f"rs-{SCENARIO}"
    first.mkdir(parents=True, exist_ok=True)
    initramfs, wrong = _initramfs(place, first)
    outcomes = []
    for case in sorted(wanted, key=cases(Driver.RS).index):
        mode = case.split(":")[0]
        log, folder = LOGS / f"rs-{SCENARIO}-{mode}", place / mode
        log.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        console = log / "console.log"
        console.unlink(missing_ok=True)
        why = wrong or _boot(mode, _root_image(folder), initramfs, console)
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        why = why or console_verdict(lines)
        outcome = Outcome(PROFILE, case, not why, why, time.monotonic() - begin)
        outcomes += conclude(outcome, lines, log, folder)
        begin = time.monotonic()
    if all(outcome.passed for outcome in outcomes):
        shutil.rmtree(place, ignore_errors=True)
    return outcomes
