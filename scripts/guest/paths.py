# SPDX-License-Identifier: GPL-2.0
"""Where things lie inside the sysroot; scripts/enter mounts them there."""

import dataclasses
import functools
import os
import subprocess
from pathlib import Path

SRC = Path(os.environ.get("VSR_SRC", "/src"))
CACHE = Path(os.environ.get("VSR_CACHE_DIR", "/cache"))
BUILD = CACHE / "build"
KERNEL_TREE = CACHE / "kernel"
# What a guest has as its root: this one, unless it is of another architecture.
GUEST_ROOT = Path("/guest") if Path("/guest/usr").is_dir() else Path("/")
# Of this clone: another one that tests at the same time has its own.
LOGS = BUILD / "logs"
DISKS = BUILD / "disks"
HERE = Path(__file__).resolve().parent


def outside(path: Path) -> str:
    """A path below BUILD as whoever called scripts/enter finds it."""
    return str(os.environ.get("VSR_BUILD_OUTSIDE", BUILD) / path.relative_to(BUILD))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What a guest boots."""

    release: str
    image: Path
    modules: Path  # a folder like /usr/lib/modules
    ours: Path  # where our modules for it are


# What KERNEL in the environment may say, besides a folder that scripts/kdir-kernel made; all but the first are compiled here.
KERNELS = ("stock", "debug", "kcsan")


@functools.cache
def _compiled_kernel(kind: str) -> Kernel:
    """The kernel of scripts/lean-kernel KIND, which has our modules under updates/."""
    done = subprocess.run(
        [SRC / "scripts/lean-kernel", kind], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"guest: the {kind} kernel could not be compiled")
    return _kernel_in(Path(done.stdout.strip()))


def _kernel_in(folder: Path) -> Kernel:
    """A kernel whose image and modules are in a folder, ours under updates/ and beside it."""
    modules = folder / "lib/modules"
    try:
        (tree,) = modules.iterdir()
        (image,) = (path for name in ("vmlinux", "vmlinuz") if (path := folder / name).exists())
    except (OSError, ValueError):
        raise SystemExit(f"KERNEL={folder}: no kernel of scripts/kdir-kernel is there") from None
    return Kernel(tree.name, image, modules, folder)


def _kind() -> str:
    name = os.environ.get("KERNEL", "stock")
    if name not in KERNELS and not name.startswith("/"):
        raise SystemExit(f"KERNEL={name}: say one of {', '.join(KERNELS)}, or a folder of scripts/kdir-kernel")
    if name != "stock" and os.environ.get("DRIVER") == "c":
        raise SystemExit(f"KERNEL={name} has our drivers only, not DRIVER=c")
    return name


def stock() -> bool:
    """Whether guests boot the distribution's kernel."""
    return _kind() == "stock"


def debug() -> bool:
    """Whether KERNEL in the environment asks for a kernel that looks for bugs."""
    return _kind() in KERNELS[1:]


def kernel() -> Kernel:
    """The kernel that guests boot."""
    if debug():
        return _compiled_kernel(_kind())
    if not stock():
        return _kernel_in(Path(_kind()))
    release, image = stock_kernel()
    return Kernel(release, image, image.parent.parent, BUILD)


def stock_kernel() -> tuple[str, Path]:
    """Release and image of the distribution kernel that the sysroot holds."""
    images = sorted((GUEST_ROOT / "usr/lib/modules").glob("*/vmlinuz"))
    if len(images) != 1:
        raise SystemExit(
            f"guest: the sysroot holds {len(images)} kernels, one is needed; "
            "run this through scripts/enter, or make distclean and start afresh"
        )
    return images[0].parent.name, images[0]
