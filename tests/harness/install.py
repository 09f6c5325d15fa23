# SPDX-License-Identifier: GPL-2.0
"""What README's installation leads to: the packages, and scripts/install, in a root that has the real initramfs-tools, the
initramfs that these make, and guests with the stock kernel that boot from it with their root on /dev/vda or /dev/sda.
"""

import dataclasses
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from guest import Driver, accel, initrd
from guest.modules import OUR_MODULES, build_id, our_module
from guest.paths import BUILD, DISKS, LOGS, SRC, outside, stock_kernel

from .runner import Outcome, conclude, console_verdict

PROFILE = "install"
SCENARIO = "installed"
DEADLINE = 900
# Five images take two minutes on an idle machine, and what DKMS does eight.
IMAGES_DEADLINE, DKMS_DEADLINE = 3600, 7200
HERE = SRC / "tests/install"
# Where the modules must be in the image, and nowhere else.
PLACES = {"virtio_blk": "drivers/block", "virtio_scsi": "drivers/scsi"}
_BLK = ["-device", "virtio-blk-pci,drive=root,num-queues=2"]
_SCSI = ["-device", "virtio-scsi-pci,id=hba", "-device", "scsi-hd,bus=hba.0,drive=root"]


@dataclasses.dataclass(frozen=True)
class Boot:
    """A guest, and what its init must find."""

    image: str  # of make-image
    parameter: str = ""  # on the kernel command line
    scsi: bool = False
    ours: bool = True
    path: str = ""
    value: tuple[str, str] = ("", "")  # of a parameter of the module
    log: str = ""
    status: str = ""  # what virtio-storage-rs status prints

    @property
    def disk(self) -> str:
        return "sda" if self.scsi else "vda"

    def expect(self) -> str:
        """For the guest's shell."""
        words = {
            "disk": self.disk, "ours": "yes" if self.ours else "no", "path": self.path,
            "parameter": self.value[0], "value": self.value[1], "log": self.log, "status": self.status,
        }  # fmt: skip
        return "".join(f"{name}={shlex.quote(word)}\n" for name, word in words.items())


# Part of what `virtio-storage-rs next` says, by image.
NEXT = {
    "deb": ("In the way:\nnothing\n",),
    "broken": ("virtio_blk: the kernel's own (updates/", "virtio_scsi.ko is no whole module", "- nothing boots "),
    "removed": ("- there is no virtio_blk of ours for ",),
}
GUESTS = {
    "bio": Boot("script", "virtio_blk.use_bio=1", path="bio", value=("use_bio", "Y"),
                status="path: bio, use_bio=Y by the kernel command line"),
    "request": Boot("deb", path="request", value=("use_bio", "N"), status="path: request, use_bio=N by default"),
    "scsi": Boot("deb", "virtio_scsi.virtscsi_timeouts=5", scsi=True, value=("virtscsi_timeouts", "5"),
                 status="    disks: sda"),
    # What modprobe's shell must not take for its own.
    "odd": Boot("deb", "virtio_blk.use_bio=some)", path="request", value=("use_bio", "N"),
                log='virtio_blk: wrong value "some)" of the parameter use_bio'),
    # Where ours cannot be loaded.
    "unsigned": Boot("deb", "module.sig_enforce=1", scsi=True, ours=False,
                     log="virtio_scsi cannot be loaded, the reason is above: the kernel's own takes its place",
                     status="virtio_scsi, the kernel's own"),
    "broken": Boot("broken", "virtio_blk.num_request_queues=some;", ours=False,
                   log="virtio_blk cannot be loaded, the reason is above: the kernel's own takes its place",
                   status="path: request, the only one of this driver"),
    "cut": Boot("broken", scsi=True, ours=False,
                log="virtio_scsi cannot be loaded, the reason is above: the kernel's own takes its place"),
    "removed": Boot("removed", ours=False, log="virtio_blk is the kernel's own: there is none of ours for ",
                    status="vda (virtio0): virtio_blk, the kernel's own"),
    "off": Boot("deb", "virtio_storage_rs=off", ours=False, log="virtio_storage_rs=off: virtio_blk is the kernel's own",
                status="vda (virtio0): virtio_blk, the kernel's own"),
    "dkms": Boot("dkms", path="request", value=("use_bio", "N"), status="vda (virtio0): virtio_blk of virtio-storage-rs"),
}  # fmt: skip
# Of test-full only. What DKMS built is signed, but by its key alone.
LONG = {"off", "dkms"}


def cases(driver: Driver, full: bool) -> list[str]:
    """None for the C driver, which needs no installation."""
    if driver is Driver.C:
        return []
    return [f"{mode}:{SCENARIO}" for mode in GUESTS if full or mode not in LONG]


def _wrong(folder: Path) -> str:
    """What is wrong with the images, with what the package says of them, or with what removing left."""
    release, _ = stock_kernel()
    for listing in ("script/list", "list-fewest", "deb/list", "removed/list"):
        paths = (folder / listing).read_text().split()
        for name in OUR_MODULES:
            place = f"/updates/{PLACES[name]}/{name}.ko"
            # With the fewest modules the kernel's own need not be there.
            wanted = [[place]] if "removed" not in listing else [[], [f"/kernel/{PLACES[name]}/{name}.ko.xz"]]
            found = [path for path in paths if "/modules/" in path and Path(path).name.startswith(f"{name}.ko")]
            if [path.split(release)[1] for path in found] not in wanted:
                return f"{listing}: the initramfs has {found}"
    for name in OUR_MODULES:
        if not any(f"/c/{release}/{name}.ko" in line for line in (folder / "deb/list").read_text().split()):
            return f"the initramfs of the packages has no {name} to fall back to"
    for image, texts in NEXT.items():
        told = (folder / image / "next").read_text()
        if any(text not in told for text in texts):
            return f"with {image}, virtio-storage-rs next says {told!r}"
    unpacked = (folder / "unpacked").read_text().split()
    if len(unpacked) != len(OUR_MODULES) or any("/kernel/" not in path for path in unpacked):
        return f"before the packages were configured depmod took {unpacked}"
    for name in ("script", "deb"):
        left = (folder / f"left-{name}").read_text().split()
        if left:
            return f"uninstalling left {left} ({name})"
    return ""


def _last(log: Path) -> str:
    return f"{log.read_text(errors='replace').strip().splitlines()[-1:]}, see {outside(log)}"


def _dkms(folder: Path, log: Path) -> str:
    """Let DKMS build, fail, build again and be removed; what went wrong."""
    with open(log, "wb") as out:
        done = subprocess.run(
            [SRC / "scripts/with-packages", "dkms", HERE / "dkms", folder / "dkms", BUILD / "packages"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=DKMS_DEADLINE, check=False,
        )  # fmt: skip
    return "" if done.returncode == 0 else f"DKMS: {_last(log)}"


def _initramfs(folder: Path, log: Path) -> str:
    """Make the images; what is wrong with them."""
    release, _ = stock_kernel()
    packages = sorted(path for path in (BUILD / "packages").glob("*.deb") if "-dkms_" not in path.name)
    with open(log / "install.log", "wb") as out:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "unchanged", HERE / "make-image", folder, release,
             *map(our_module, OUR_MODULES), "--", *packages],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=IMAGES_DEADLINE, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"installing failed: {_last(log / 'install.log')}")
    return _wrong(folder)


def _root_image(folder: Path, boot: Boot, modules: list[Path]) -> Path:
    """An ext4 image with busybox and an init of ours, which looks for one of the modules; nothing is mounted to make it."""
    root = folder / "system"
    for name in ("bin", "sbin", "dev", "proc", "sys", "run", "root", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init", root / "sbin/init")
    shutil.copy(SRC / "packaging/common/virtio-storage-rs", root / "sbin")
    (root / "expect").write_text(boot.expect())
    for module in modules:
        (root / f"build-id.{module.stem}").write_text(build_id(module))
    (root / "payload").write_bytes(os.urandom(8 << 20))
    image = folder / "root.img"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", root, image, "64M"], stdin=subprocess.DEVNULL, check=True
    )
    return image


def _boot(boot: Boot, image: Path, initramfs: Path, console: Path) -> str:
    """Run the guest; what it says goes to `console`. Returns what was wrong with QEMU itself."""
    clock = " ".join(accel.clock_words())
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        # One of about a hundred guests hangs or falls over in its boot if TCG has a thread for each CPU. Others are booted again then.
        "-machine", "pc", *accel.qemu_args(one_thread=True), "-smp", "2", "-m", "512M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(initramfs),
        "-append", f"console=ttyS0 quiet loglevel=6 no_timer_check tsc=reliable {clock} mitigations=off nokaslr panic=-1 "
        f"printk.devkmsg=on root=/dev/{boot.disk} rootfstype=ext4 fsck.mode=skip ro {boot.parameter}",
        "-serial", f"file:{console}",
        "-blockdev", f"driver=file,filename={image},node-name=root",
        *(_SCSI if boot.scsi else _BLK),
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
    """One installation, then a boot for each of the cases; the first case's time has the installation in it, and that of DKMS
    its build."""
    begin = time.monotonic()
    place = DISKS / f"rs-{SCENARIO}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    first = LOGS / f"rs-{SCENARIO}"
    first.mkdir(parents=True, exist_ok=True)
    subprocess.run([SRC / "scripts/deb"], stdout=subprocess.DEVNULL, check=True)
    wrong = "" if wanted == {f"dkms:{SCENARIO}"} else _initramfs(place, first)
    outcomes = []
    for case in sorted(wanted, key=cases(Driver.RS, full=True).index):
        mode = case.split(":")[0]
        log, folder = LOGS / f"rs-{SCENARIO}-{mode}", place / f"root-{mode}"
        log.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        console = log / "console.log"
        console.unlink(missing_ok=True)
        boot, modules = GUESTS[mode], [our_module(name) for name in OUR_MODULES]
        why = wrong
        if mode == "dkms":
            modules = [place / mode / f"{name}.ko" for name in OUR_MODULES]
            why = _dkms(place, log / "dkms.log")
        why = why or _boot(boot, _root_image(folder, boot, modules), place / boot.image / "initrd", console)
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        why = why or console_verdict(lines)
        outcome = Outcome(PROFILE, case, not why, why, time.monotonic() - begin)
        outcomes += conclude(outcome, lines, log, folder)
        begin = time.monotonic()
    if all(outcome.passed for outcome in outcomes):
        shutil.rmtree(place, ignore_errors=True)
    return outcomes
