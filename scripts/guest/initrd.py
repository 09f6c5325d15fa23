# SPDX-License-Identifier: GPL-2.0
"""The guest's first files: an unpacked kernel and an initramfs that mounts the root.

virtme-ng's library writes the archive; the init in it is ours, since virtme-ng's
waits for udev to coldplug every device, which is most of a boot under TCG.
"""

import fcntl
import functools
import hashlib
import lzma
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virtme import cpiowriter, mkinitramfs

from . import arch, shares
from .paths import CACHE, GUEST_ROOT, HERE, KERNEL_TREE, Kernel, kernel, stock

MODULES = ("9p", "9pnet_virtio")

# What scenarios run all the time. Each start of a program asks the host's file system 16 times for it and its libraries, and where
# several guests share the CPUs, an answer takes 8 ms: so these are in the guest's memory.
HOT = (
    "awk", "basename", "bash", "cat", "chmod", "cmp", "cp", "cut", "date", "dd", "dmesg", "env", "find", "flock", "grep", "head", "id", "kmod",
    "ln", "ls", "mkdir", "mount", "mv", "od", "printf", "ps", "pgrep", "readlink", "rm", "rmdir", "sed", "seq", "sleep", "sort", "stat", "sync",
    "tail", "taskset", "timeout", "touch", "tr", "umount", "uniq", "wc", "xargs", "yes", "/usr/sbin/blockdev", "lsscsi",
)  # fmt: skip
HOT_SIZE = 3 << 20


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    folder = CACHE / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _modules_in_order(of: Kernel) -> list[Path]:
    """MODULES that are not built in, with all they depend on, dependencies first."""
    base = of.modules / of.release
    depends: dict[str, list[str]] = {}
    for line in (base / "modules.dep").read_text().splitlines():
        module, _, needs = line.partition(":")
        depends[module] = needs.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in depends}
    order: list[str] = []
    for name in MODULES:
        if name not in by_name:
            continue
        path = by_name[name]
        # modules.dep lists the nearest dependency first.
        for module in [*reversed(depends[path]), path]:
            if module not in order:
                order.append(module)
    return [base / module for module in order]


def _read_module(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


@functools.cache
def _hot() -> list[Path]:
    """HOT, and the libraries that they want: few of them are large."""
    if not arch.NATIVE:
        return []
    programs = [path for name in HOT if (path := Path("/usr/bin") / name).exists()]
    wanted = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    libraries = {Path(path).resolve() for path in re.findall(r"(/\S+) \(0x", wanted)}
    found = sorted({*(path.resolve() for path in programs), *libraries, Path("/etc/ld.so.cache")})
    return [path for path in found if path.exists() and path.stat().st_size <= HOT_SIZE]


def initramfs() -> Path:
    """The initramfs of the kernel, made once and cached."""
    of = kernel()
    init = (HERE / "initramfs-init").read_bytes()
    hot = _hot()
    stamps = repr([(path, path.stat().st_size, path.stat().st_mtime_ns) for path in hot])
    key = hashlib.sha256(of.release.encode() + init + stamps.encode()).hexdigest()[:12]
    with _locked("initramfs") as folder:
        final = folder / f"initramfs-{key}"
        if final.exists():
            return final
        work = final.with_suffix(".work")
        with open(work, "wb") as out:
            cw = cpiowriter.CpioWriter(out)
            mkinitramfs.make_base_layout(cw)
            mkinitramfs.make_dev_nodes(cw)
            with open(GUEST_ROOT / "bin/busybox", "rb") as busybox:
                cw.write_file(name=b"bin/busybox", body=busybox, mode=0o755)
            cw.mkdir(b"modules", 0o755)
            for index, path in enumerate(_modules_in_order(of)):
                name = f"modules/{index:02}-{path.name.split('.')[0]}.ko"
                cw.write_file(name.encode(), body=_read_module(path), mode=0o644)
            for folder_of in sorted({f"hot{parent}" for path in hot for parent in path.parents}):
                cw.mkdir(folder_of.rstrip("/").encode(), 0o755)
            for path in hot:
                cw.write_file(f"hot{path}".encode(), body=path.read_bytes(), mode=0o755)
            if shares.by_virtiofs():
                cw.write_file(b"virtiofs", body=b"", mode=0o644)
            cw.write_file(b"init", body=init, mode=0o755)
            cw.write_trailer()
        os.rename(work, final)
        return final


def kernel_image() -> Path:
    """The kernel unpacked: saves the guest 2 s of unpacking under TCG."""
    release, image = kernel().release, kernel().image
    if not stock() or arch.NAME != "amd64":
        return image
    script = KERNEL_TREE / "src/scripts/extract-vmlinux"
    if not script.exists():
        return image
    with _locked("vmlinux") as folder:
        final = folder / f"vmlinux-{release}-{image.stat().st_size}"
        if not final.exists():
            work = final.with_suffix(".work")
            with open(work, "wb") as out:
                done = subprocess.run(
                    ["sh", script, image], stdout=out, stderr=subprocess.DEVNULL, check=False
                )
            if done.returncode != 0:
                work.unlink()
                return image
            os.rename(work, final)
        return final
