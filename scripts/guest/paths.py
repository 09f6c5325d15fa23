# SPDX-License-Identifier: GPL-2.0
"""Where things lie inside the sysroot; scripts/enter mounts them there."""

import os
from pathlib import Path

SRC = Path(os.environ.get("VSR_SRC", "/src"))
CACHE = Path(os.environ.get("VSR_CACHE_DIR", "/cache"))
BUILD = CACHE / "build"
KERNEL_TREE = CACHE / "kernel"
LOGS = CACHE / "logs"
# Of this clone: another one that tests at the same time has its own.
DISKS = BUILD / "disks"
HERE = Path(__file__).resolve().parent


def stock_kernel() -> tuple[str, Path]:
    """Release and image of the distribution kernel that the sysroot holds."""
    images = sorted(Path("/usr/lib/modules").glob("*/vmlinuz"))
    if len(images) != 1:
        raise SystemExit(
            f"guest: the sysroot holds {len(images)} kernels, one is needed; "
            "run this through scripts/enter, or make distclean and start afresh"
        )
    return images[0].parent.name, images[0]
