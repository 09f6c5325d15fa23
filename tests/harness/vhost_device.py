# SPDX-License-Identifier: GPL-2.0
"""The maintained vhost-user-scsi back end, vhost-device-scsi of crates.io: installs it, runs it on the host.

It only reads (so its images are written before), has one target and one request queue, and leaves what comes by the
control queue where it is.
"""

import fcntl
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from guest.paths import CACHE, SRC

from .service import Service

NAME = "vhost-device-scsi"


# QEMU 10.0 gives every ring so many entries; the back end was made for QEMU's former 128, and refuses more.
RING_ENTRIES = 1024


@functools.cache
def binary() -> Path:
    """The program, of the version that scripts/config.sh names, compiled if need be."""
    config = (SRC / "scripts/config.sh").read_text()
    found = re.search(r"^VHOST_DEVICE_SCSI_VERSION=(\S+)$", config, re.MULTILINE)
    if not found:
        raise RuntimeError("scripts/config.sh names no version of vhost-device-scsi")
    final = CACHE / f"{NAME}-{found[1]}-ring-{RING_ENTRIES}"
    with open(f"{final}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.exists():
            print(f"# compiling {NAME} {found[1]}, once: two minutes or so", flush=True)
            try:
                _compile(found[1], final)
            except subprocess.CalledProcessError as err:
                raise RuntimeError(f"{NAME} does not build: {err}; see the messages above") from err
    return final / "bin" / NAME


def _compile(version: str, final: Path) -> None:
    work = final.with_name(f"{final.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    # A package that needs it has cargo fetch its source.
    user = work / "user"
    (user / "src").mkdir(parents=True)
    (user / "src/lib.rs").touch()
    (user / "Cargo.toml").write_text(
        f'[package]\nname = "user"\nversion = "0.0.0"\n[dependencies]\n{NAME} = "={version}"\n'
    )
    quiet = {"stdin": subprocess.DEVNULL, "check": True}
    subprocess.run(["cargo", "fetch", "--quiet", "--manifest-path", user / "Cargo.toml"], **quiet)
    home = Path(os.environ["CARGO_HOME"])
    [fetched] = home.glob(f"registry/src/*/{NAME}-{version}")
    shutil.copytree(fetched, work / "source")
    source = work / "source/src/vhu_scsi.rs"
    text = source.read_text()
    limit = "128 // qemu assumes this by default"
    if text.count(limit) != 1:
        raise RuntimeError(f"{NAME} {version} has its limit of a ring elsewhere")
    source.write_text(text.replace(limit, str(RING_ENTRIES)))
    subprocess.run(
        ["cargo", "install", "--quiet", "--debug", "--locked", "--path", work / "source", "--root", work / "root",
         "--target-dir", work / "target"],
        **quiet,
    )  # fmt: skip
    (work / "root").rename(final)
    shutil.rmtree(work)


def serve(folder: Path, name: str, images: list[Path]) -> tuple[Path, Service]:
    """A host whose logical unit N is the Nth image; returns its socket, too."""
    socket = folder / f"{name}.sock"
    command = [binary(), "--socket-path", socket, *images]
    return socket, Service(command, folder / f"{name}.messages", socket.exists, {"RUST_LOG": "info"})


def written(path: Path, size: int) -> Path:
    """An image full of blocks that fio can verify."""
    subprocess.run(
        ["fio", "--name=image", f"--filename={path}", "--rw=write", "--bs=4k", f"--size={size}", "--verify=crc32c",
         "--do_verify=0", "--verify_state_save=0", "--minimal", "--output=/dev/null"],
        check=True,
    )  # fmt: skip
    return path
