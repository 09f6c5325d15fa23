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
import py_compile
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virtme import cpiowriter, mkinitramfs

from . import arch, shares
from .paths import CACHE, GUEST_ROOT, HERE, KERNEL_TREE, Kernel, kernel, stock

MODULES = ("9p", "9pnet_virtio")

# What scenarios run, and the guest has in its memory with all libraries: each start of a program asks the host's file system three
# times for each file, fio 200 times, and where several guests share the CPUs, an answer takes 8 to 25 ms.
HOT = (
    "awk", "basename", "bash", "blkdiscard", "blkid", "blkzone", "blockdev", "cat", "chmod", "cmp", "cp", "cut", "date", "dd", "dmesg", "dmsetup",
    "e2fsck", "env", "find", "fio", "flock", "fstrim", "grep", "head", "id", "kmod", "ln", "ls", "lsscsi", "mkdir", "mkfs.ext4", "mkfs.xfs", "mount",
    "mountpoint", "mv", "od", "pgrep", "printf", "ps", "python3", "readlink", "rm", "rmdir", "sed", "seq", "sg_inq", "sg_luns", "sg_raw",
    "sg_readcap", "sg_reset", "sg_vpd", "sleep", "sort", "stat", "sync", "tail", "taskset", "timeout", "touch", "tr", "udevadm", "umount", "uniq",
    "wc", "xargs", "yes",
)  # fmt: skip
# What scenarios import.
HOT_PYTHON = (
    "contextlib, ctypes, errno, fcntl, hashlib, json, mmap, os, pathlib, random, re, signal, socket, statistics, struct, subprocess, sys, "
    "threading, time"
)


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
def _hot() -> dict[str, Path]:
    """HOT and the libraries, each for its own place, and Python's modules, for a folder of their own."""
    if not arch.NATIVE:
        return {}
    programs = [path for name in HOT if (path := Path(shutil.which(name) or "")).is_file()]
    wanted = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    libraries = [Path(path) for path in re.findall(r"(/\S+) \(0x", wanted)]
    hot = {f"files{path.resolve()}": path for path in [*programs, *libraries, Path("/etc/ld.so.cache")]}
    told = subprocess.run(
        ["python3", "-I", "-c", f"import {HOT_PYTHON}\nfor module in list(sys.modules.values()):\n"
         "    print(module.__name__, getattr(module, '__file__', None) or '')"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for line in told.splitlines():
        name, _, file = line.partition(" ")
        source = Path(file)
        if not file or "python3" not in file or name == "sitecustomize":
            continue
        place = "python/" + name.replace(".", "/")
        if source.name == "__init__.py":
            # All of a package: what is not here of it is found nowhere.
            for inner in source.parent.rglob("*.py"):
                hot[f"{place}/{inner.relative_to(source.parent).with_suffix('.pyc')}"] = inner
        else:
            hot[place + {".py": ".pyc"}.get(source.suffix, source.suffix)] = source
    return hot


def _hot_bytes(place: str, path: Path) -> bytes:
    if not place.endswith(".pyc"):
        return path.read_bytes()
    with tempfile.NamedTemporaryFile() as compiled:
        py_compile.compile(str(path), compiled.name, doraise=True)
        return Path(compiled.name).read_bytes()


def initramfs(memory: str) -> Path:
    """The initramfs of the kernel for a guest with so much memory, as QEMU has it; made once and cached."""
    of = kernel()
    init = (HERE / "initramfs-init").read_bytes()
    # It is there twice while it is unpacked.
    hot = _hot() if int(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]] >= 400 else {}
    stamps = repr([(place, path.stat().st_size, path.stat().st_mtime_ns) for place, path in hot.items()])
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
            for inner in sorted({str(parent) for place in hot for parent in Path("hot", place).parents} - {"."}):
                cw.mkdir(inner.encode(), 0o755)
            for place, path in hot.items():
                cw.write_file(f"hot/{place}".encode(), body=_hot_bytes(place, path), mode=0o755)
            binds = [f"/hot/{place} /newroot{place[5:]} none bind 0 0\n" for place in hot if place.startswith("files/")]
            cw.write_file(b"hot.fstab", body="".join(binds).encode(), mode=0o644)
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
