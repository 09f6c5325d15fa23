# SPDX-License-Identifier: GPL-2.0
"""A guest that a real libvirtd starts, from the XML that Documentation/attach.md prints, with a disk of each driver; they go and
come back while it runs. What libvirt needs is in a copy of the sysroot: see tests/libvirt/session."""

import shutil
import subprocess
import time
from pathlib import Path

from guest import Driver, initrd
from guest.paths import SRC

from . import initramfs
from .profiles import MODES, ORACLE
from .runner import Outcome, conclude, console_verdict, folders

PROFILE = "libvirt"
SCENARIO = "attached"
DEADLINE = 1800
# The last one is there for logrotate, which else would bring cron.
PACKAGES = "libvirt-daemon-driver-qemu libvirt-daemon libvirt-clients systemd-sysv"
# Its libvirtd is no privileged one.
USER, GROUP = "nobody", "nogroup"
PARAMETERS = {"request": "use_bio=0", "bio": "use_bio=1", "c": ""}


def cases(driver: Driver) -> list[str]:
    return [f"{mode}:{SCENARIO}" for mode in (ORACLE if driver is Driver.C else MODES)]


def _host(folder: Path, image: Path, log: Path) -> str:
    """Run the guest; what was wrong on the host."""
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, USER, GROUP)
    with open(log / "session.log", "wb") as out:
        try:
            done = subprocess.run(
                [SRC / "scripts/with-packages", PACKAGES,
                 "setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--pdeathsig", "KILL",
                 SRC / "tests/libvirt/session", folder, initrd.kernel_image(), image],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=DEADLINE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not finished after {DEADLINE} s, killed"
    if done.returncode == 0:
        return ""
    said = (log / "session.log").read_text(errors="replace").strip().splitlines()
    return f"on the host: {said[-1] if said else f'status {done.returncode}'}"


def run(case: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    mode = case.split(":")[0]
    name = f"{driver.value}-{SCENARIO}-{mode}"
    log, folder = folders(name)
    image = initramfs.write(folder, "libvirt", case, PARAMETERS[mode], [], ["virtio_scsi"])
    why = _host(folder, image, log)
    for left in (*folder.glob("*.log"), *folder.glob("*.xml"), *folder.glob("cache/libvirt/qemu/log/*")):
        shutil.copy(left, log)
    console = log / "console.log"
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    why = why or console_verdict(lines)
    outcome = Outcome(PROFILE, case, not why, why, time.monotonic() - begin)
    return conclude(outcome, lines, log, folder)
