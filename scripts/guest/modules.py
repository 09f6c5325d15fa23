# SPDX-License-Identifier: GPL-2.0
"""Which driver a guest uses, and how it gets there."""

import enum
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from .paths import CACHE, kernel, stock, stock_kernel


OUR_MODULES = ("virtio_blk", "virtio_scsi")


class Driver(enum.Enum):
    """Ours (`rs`) or the kernel's own (`c`)."""

    RS = "rs"
    C = "c"

    @classmethod
    def from_env(cls) -> "Driver":
        name = os.environ.get("DRIVER", "rs")
        try:
            return cls(name)
        except ValueError:
            raise SystemExit(f"DRIVER={name}: say DRIVER=rs (ours) or DRIVER=c (the kernel's)")


def our_module(name: str = "virtio_blk") -> Path:
    path = kernel().ours / f"{name}.ko"
    if not path.exists():
        raise SystemExit(f"guest: {path} is missing; run make modules first")
    return path


def build_id(module: Path) -> str:
    """The linker's hash of a module: the kernel shows it under /sys/module/NAME/notes."""
    notes = subprocess.run(
        ["readelf", "--notes", module], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"Build ID: ([0-9a-f]+)", notes)
    if not found:
        raise SystemExit(f"guest: {module} has no build ID")
    return found[1]


def module_tree() -> Path:
    """A folder like /usr/lib/modules, with ours under updates/, where modprobe and udev prefer them."""
    if not stock():
        return kernel().modules
    release, image = stock_kernel()
    modules = [our_module(name) for name in OUR_MODULES]
    theirs = image.parent
    ids = " ".join(build_id(module) for module in modules)
    key = hashlib.sha256(f"{release} vmlinuz {ids}".encode()).hexdigest()[:12]
    base = CACHE / "guest"
    base.mkdir(parents=True, exist_ok=True)
    with open(base / "modules.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        final = base / f"modules-{key}"
        if not final.exists():
            for old in base.glob("modules-*"):
                shutil.rmtree(old, ignore_errors=True)
            work = base / "modules.work"
            shutil.rmtree(work, ignore_errors=True)
            tree = work / "lib/modules" / release
            (tree / "updates").mkdir(parents=True)
            for entry in ("modules.order", "modules.builtin", "modules.builtin.modinfo", "vmlinuz"):
                shutil.copy(theirs / entry, tree)
            (tree / "kernel").symlink_to(theirs / "kernel")
            for module in modules:
                shutil.copy(module, tree / "updates")
            subprocess.run(["depmod", "-b", work, release], check=True)
            # In a guest the tree is mounted over the stock one, which a link would then miss.
            (tree / "kernel").unlink()
            shutil.copytree(theirs / "kernel", tree / "kernel")
            os.rename(work, final)
    return final / "lib/modules"
