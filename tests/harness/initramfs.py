# SPDX-License-Identifier: GPL-2.0
"""The initramfs of a guest that has nothing else: busybox, programs, the modules of its drivers, an init of tests/initramfs."""

import lzma
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from guest.modules import our_module
from guest.paths import SRC, stock_kernel
from virtme import cpiowriter, mkinitramfs

from .profiles import module_of

INITS = SRC / "tests/initramfs"
# What drives the disks behind a SCSI host.
NEEDED = {"virtio_blk": (), "virtio_scsi": ("sd_mod",)}


def _libraries(program: Path) -> set[Path]:
    """What the loader maps for a program."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", found)}


def _stock(name: str) -> list[Path]:
    """A module of the stock kernel, after those that it needs."""
    release, _ = stock_kernel()
    folder = Path("/usr/lib/modules") / release
    for line in (folder / "modules.dep").read_text().splitlines():
        module, needs = line.split(":")
        if module.endswith(f"/{name}.ko.xz"):
            return [folder / path for path in [*reversed(needs.split()), module]]
    raise LookupError(f"the stock kernel has no module {name}")


def _modules(mode: str, drivers: list[str]) -> dict[str, bytes]:
    """All modules in the order in which they are loaded, each driver after what it needs."""
    found: dict[str, bytes] = {}
    for driver in drivers:
        stock = [path for name in NEEDED[driver] for path in _stock(name)]
        if mode == "c":
            stock += _stock(driver)
        found |= {path.name.removesuffix(".xz"): lzma.decompress(path.read_bytes()) for path in stock}
        found.setdefault(f"{driver}.ko", our_module(driver).read_bytes())
    return found


def _build_id(module: Path, folder: Path) -> bytes:
    """The note as the kernel shows it under /sys/module."""
    note = folder / "build-id"
    subprocess.run(
        ["objcopy", "-O", "binary", "--only-section=.note.gnu.build-id", "--set-section-flags",
         ".note.gnu.build-id=alloc", module, note],
        check=True,
    )  # fmt: skip
    return note.read_bytes()


def write(
    folder: Path, init: str, case: str, parameters: str, programs: list[str], more_drivers: Sequence[str] = ()
) -> Path:
    """An initramfs with the init of that name, the driver of the case, what it is loaded with, further programs and drivers."""
    path = folder / "initramfs"
    mode, driver = case.split(":")[0], module_of(case)
    drivers = [driver, *more_drivers]
    modules = _modules(mode, drivers)
    files: dict[str, tuple[bytes, int]] = {
        "bin/busybox": (Path("/bin/busybox").read_bytes(), 0o755),
        "drivers": ("\n".join(drivers).encode(), 0o644),
        "parameters": (parameters.encode(), 0o644),
        "init": ((INITS / init).read_bytes(), 0o755),
        "lib.sh": ((INITS / "lib.sh").read_bytes(), 0o644),
        **{f"modules/{number:02}-{name}": (body, 0o644) for number, (name, body) in enumerate(modules.items())},
    }
    if mode != "c":
        for name in drivers:
            files[f"build-id.{name}"] = (_build_id(our_module(name), folder), 0o644)
        files["mode"] = (f"{mode}\n".encode(), 0o644)
    for program in map(Path, programs):
        for file in {program, *_libraries(program)}:
            files[str(file).lstrip("/")] = (file.read_bytes(), 0o755)
    with open(path, "wb") as out:
        cpio = cpiowriter.CpioWriter(out)
        mkinitramfs.make_base_layout(cpio)
        mkinitramfs.make_dev_nodes(cpio)
        made = {"bin"}
        for name, (body, permissions) in files.items():
            for parent in reversed(Path(name).parents):
                if str(parent) not in {".", *made}:
                    cpio.mkdir(str(parent).encode(), 0o755)
                    made.add(str(parent))
            cpio.write_file(name=name.encode(), body=body, mode=permissions)
        cpio.write_trailer()
    return path
