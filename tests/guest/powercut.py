# SPDX-License-Identifier: GPL-2.0
"""The load of the power-cut test (files written, fsynced, acknowledged), and its check."""

import fcntl
import hashlib
import os
import random
import subprocess
import sys


def tell(*words: object) -> None:
    """Tell the host; nobody answers. The lock is that of host() in the shell library."""
    with open("/tmp/.host.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        port = os.open(os.environ["VSR_PORT"], os.O_WRONLY)
        os.write(port, ("!" + " ".join(map(str, words)) + "\n").encode())
        os.close(port)


def content(fs: str, name: str, version: int) -> bytes:
    seed = f"{fs}/{name}/{version}"
    block = hashlib.sha512(seed.encode()).digest() * 8
    return block * random.Random(seed).randrange(1, 120)


def load(fs: str, cut: int) -> None:
    """Names are used again and again: an old version that reappears is a loss too."""
    generator = random.Random(cut)
    version = cut * 100_000
    folder = os.open(f"/mnt/{fs}", os.O_RDONLY)
    tell("begin")
    while True:
        version += 1
        name = f"f{generator.randrange(60)}"
        temporary = f"{name}.new"
        sync_flag = os.O_DSYNC if generator.random() < 0.3 else 0
        fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | sync_flag, dir_fd=folder)
        os.write(fd, content(fs, name, version))
        os.fsync(fd)
        os.close(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        tell("ack", fs, name, version)


def verify(fs: str, acks: str, cut: int) -> None:
    count = 0
    # Writes of the last load that got through before their own acknowledgement did.
    unheard = range((cut - 1) * 100_000 + 1, (cut - 1) * 100_000 + 2000)
    with open(acks, encoding="ascii") as lines:
        for line in lines.read().splitlines():
            name, version = line.split()
            with open(f"/mnt/{fs}/{name}", "rb") as file:
                found = file.read()
            if found != content(fs, name, int(version)):
                newer = next((v for v in unheard if v > int(version) and found == content(fs, name, v)), None)
                if newer is None:
                    sys.exit(
                        f"{fs}/{name}: version {version} was acknowledged, {len(found)} other bytes are there"
                    )
                tell("ack", fs, name, newer)
            count += 1
    subprocess.run(["sync"], check=True)
    tell("verified", count)
    print(f"{fs}: {count} files verified")


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(sys.argv[2], int(sys.argv[3]))
    else:
        verify(sys.argv[2], sys.argv[3], int(sys.argv[4]))
