# SPDX-License-Identifier: GPL-2.0
"""The QEMU plugins that count."""

import subprocess
from pathlib import Path

from guest.paths import CACHE

_HERE = Path(__file__).resolve().parent


def plugin(name: str) -> Path:
    """The plugin of NAME.c, compiled if it has changed."""
    path = CACHE / "guest" / f"{name}.so"
    source = _HERE / f"{name}.c"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_suffix(".work")
        command = ["gcc-14", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(work), str(source)]
        subprocess.run(command, check=True)
        work.rename(path)
    return path
