# SPDX-License-Identifier: GPL-2.0
"""A whole Debian (systemd, udev, initramfs-tools, GRUB) on /dev/vda or /dev/sda, whose user installs our packages and a newer
kernel, and makes mistakes, boot after boot: `make test-full`. What each boot does and must find is in tests/debian/story.

Such a machine boots by firmware and GRUB, so QEMU's command line is here, not the usual guest. A restart ends its QEMU.

VSR_STEP=NAME in the environment: the story goes on with that boot, from the disk that the last run, which failed, left before it.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path

from guest import Driver, accel
from guest.modules import OUR_MODULES, build_id
from guest.paths import BUILD, CACHE, SRC, outside, stock_kernel

from .runner import Outcome, conclude, console_verdict, folders, say

PROFILE = "debian"
SCENARIO = "story"
# The boots of a disk, each by the name of its step.
STORIES = {
    "vda": (
        "stock", "request", "bio", "new-kernel", "wrong-value", "foreign", "half-installed", "mended", "not-built", "removed",
    ),
    "sda": ("stock", "wrong-value", "cut-off", "removed"),
}  # fmt: skip
DISK = {
    "vda": ["-device", "virtio-blk-pci,drive=root,num-queues=2"],
    "sda": ["-device", "virtio-scsi-pci,id=hba", "-device", "scsi-hd,bus=hba.0,drive=root"],
}
# A boot takes a minute or two, and what its user does the same, on two emulated CPUs of a machine that has nothing else to do.
DEADLINE = 3600
# The image, and the tree of the other kernel: ten minutes each on such a machine.
PREPARATION = 7200
# Where the image's only one begins.
PARTITION = 1 << 20
HERE = SRC / "tests/debian"
PLACE = BUILD / "debian"
_preparing = threading.Lock()


def _older() -> str:
    """The newest release of the same suite and flavour that comes before the stock kernel's, or ""."""
    told = subprocess.run(
        ["bash", "-c", '. "$0"/scripts/config.sh; echo $KERNEL_RELEASES', SRC], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip

    def version(release: str) -> tuple[int, ...]:
        return tuple(int(number) for number in release.split("+")[0].split("."))

    stock, _ = stock_kernel()
    ending = stock.split("+", 1)[1]
    older = [name for name in told.split() if name.split("+", 1)[1] == ending and version(name) < version(stock)]
    return max(older, key=version, default="")


def cases(driver: Driver) -> list[str]:
    """None for the C driver, which needs no installation; and none without a kernel to come from."""
    if driver is Driver.C or not _older():
        return []
    return [f"{disk}:{SCENARIO}" for disk in STORIES]


def _run(log: Path, *command: str | Path) -> None:
    with open(log, "wb") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=PREPARATION, check=False
        )
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{Path(command[0]).name} failed: {last}, see {outside(log)}")


def _qemu(disk: str, image: str, shares: dict[str, Path], console: Path, more: list[str]) -> str:
    """Run a boot; what it says goes to `console`. Returns what was wrong with QEMU itself."""
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "pc", *accel.qemu_args(), "-smp", "2", "-m", "1G", "-serial", f"file:{console}",
        "-blockdev", f"{image},node-name=root", *DISK[disk], "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for tag, folder in shares.items():
        command += [
            "-fsdev", f"local,id={tag},path={folder},security_model=none",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        ]  # fmt: skip
    command += more
    console.with_name("command").write_text(shlex.join(command) + "\n")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {DEADLINE} s, killed"
    return "" if done.returncode == 0 else f"QEMU: {done.stderr.strip()[-200:]}"


def _lines(console: Path) -> list[str]:
    return console.read_text(errors="replace").splitlines() if console.exists() else []


def _image(old: str, new: str) -> Path:
    """The folder with the disk, made once and kept, and what else make-image leaves."""
    inputs = [(HERE / name).read_bytes() for name in ("make-image", "grub")]
    key = hashlib.sha256(b"".join([old.encode(), new.encode(), *inputs])).hexdigest()[:12]
    home = CACHE / "debian"
    home.mkdir(exist_ok=True)
    final = home / f"image-{key}"
    with open(home / "image.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.exists():
            return final
        begin = time.monotonic()
        say(f"# {PROFILE}: a Debian is installed on a disk, once (10 minutes)")
        work = final.with_suffix(".work")
        subprocess.run(["rm", "-rf", "--one-file-system", work], check=True)
        work.mkdir()
        _run(PLACE / "image.log", SRC / "scripts/with-packages", "mmdebstrap", HERE / "make-image", work, old, new)
        share = work / "host"
        share.mkdir()
        shutil.copy(HERE / "grub", share / "step")
        console = PLACE / "grub-console.log"
        console.unlink(missing_ok=True)
        uuid = subprocess.run(
            ["blkid", "-p", "-O", str(PARTITION), "-s", "UUID", "-o", "value", work / "disk.img"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        why = _qemu(
            "vda", f"driver=file,filename={work}/disk.img,discard=unmap", {"host": share}, console,
            ["-kernel", f"{work}/vmlinuz", "-initrd", f"{work}/initrd",
             "-append", "console=ttyS0 quiet loglevel=6 panic=5 no_timer_check tsc=unstable clocksource=hpet mitigations=off "
             f"root=UUID={uuid} ro"],
        )  # fmt: skip
        why = why or console_verdict(_lines(console))
        if why:
            raise RuntimeError(f"GRUB could not be installed: {why}, see {console}")
        shutil.rmtree(share)
        for name in ("vmlinuz", "initrd"):
            (work / name).unlink()
        os.sync()
        work.rename(final)
        say(f"# {PROFILE}: done in {time.monotonic() - begin:.0f} s")
    return final


def _packages(old: str) -> dict[str, Path]:
    """All packages, those of the modules for both kernels. Returns the folders of the modules, by release."""
    new, _ = stock_kernel()
    _run(PLACE / "packages.log", SRC / "scripts/deb", BUILD, PLACE / "packages")
    series = ".".join(old.split(".")[:2])
    modules = PLACE / "modules"
    _run(
        PLACE / "modules.log", SRC / "scripts/with-packages", f"linux-headers-{old} linux-source-{series}",
        HERE / "other-kernel", old, CACHE / "debian/trees", modules,
    )  # fmt: skip
    for package in (modules / "packages").glob("virtio-storage-rs-modules-*.deb"):
        shutil.copy(package, PLACE / "packages")
    return {old: modules, new: BUILD}


def _overlay(disk: Path, backing: Path) -> None:
    kind = backing.suffix.replace(".img", ".raw")[1:]
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", backing, disk]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"no disk for the boot {disk.stem}: {done.stderr.strip()}")


def _check(disk: Path) -> str:
    """What the host, without our driver, finds wrong with the file system in the end."""
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    done = subprocess.run(["e2fsck", "-fn", f"{raw}?offset={PARTITION}"], capture_output=True, text=True, check=False)
    raw.unlink()
    return "" if done.returncode == 0 else f"e2fsck: {done.stdout.strip().splitlines()[-1:]}"


def run(case: str) -> list[Outcome]:
    begin = time.monotonic()
    disk = case.split(":")[0]
    log, folder = folders(f"rs-{PROFILE}-{disk}")
    why, lines = "", []
    steps = STORIES[disk]
    overlays = [PLACE / f"{disk}-{step}.qcow2" for step in steps]
    try:
        first = os.environ.get("VSR_STEP", steps[0])
        if first not in steps:
            raise RuntimeError(f"VSR_STEP={first} is no boot of {disk}; say one of: {' '.join(steps)}")
        with _preparing:
            PLACE.mkdir(exist_ok=True)
            old, (new, _) = _older(), stock_kernel()
            modules = _packages(old)
            image = _image(old, new)
            share = folder / "host"
            shutil.copytree(PLACE / "packages", share / "packages")
            shutil.copy(HERE / "story", share)
            for release, place in modules.items():
                for name in OUR_MODULES:
                    (share / f"build-id.{name}.{release}").write_text(build_id(place / f"{name}.ko") + "\n")
        # Each boot has what it writes in a file of its own.
        disks = [image / "disk.img", *overlays]
        for number, step in list(enumerate(steps, 1))[steps.index(first) :]:
            overlay = disks[number]
            _overlay(overlay, disks[number - 1])
            words = {"step": step, "disk": disk, "old": old, "new": new}
            (share / "step").write_text("".join(f"{name}={word}\n" for name, word in words.items()) + ". /run/host/story\n")
            (share / "log").write_text("")
            started = time.monotonic()
            console = log / f"{number:02}-{step}.console"
            why = _qemu(
                disk, f"driver=qcow2,file.driver=file,file.filename={overlay}",
                {"host": share, "kernel": image / "kernel"}, console, [],
            )  # fmt: skip
            shutil.copy(share / "log", log / f"{number:02}-{step}.log")
            lines = _lines(console)
            why = why or console_verdict(lines)
            seconds = time.monotonic() - started
            say(f"#      {PROFILE:12} {disk:8} boot {number:2} {step:14} {seconds:6.1f} s" + (f"  {why}" if why else ""))
            if why:
                why = f"{step}: {why}; {outside(console)}"
                break
        why = why or _check(overlays[-1])
    except (RuntimeError, OSError, subprocess.SubprocessError) as err:
        why = str(err)
    if not why:
        for overlay in overlays:
            overlay.unlink()
    outcome = Outcome(PROFILE, case, not why, why, time.monotonic() - begin)
    return conclude(outcome, lines, log, folder)
