# SPDX-License-Identifier: GPL-2.0
"""KVM where it truly works, TCG elsewhere."""

import functools
import os
import re
import sys
from pathlib import Path

from . import arch


def _kvm_usable() -> tuple[bool, str]:
    if not arch.NATIVE:
        return False, f"the guests are of {arch.NAME}"
    # /dev/kvm alone proves nothing: nested guests have it without the CPU's
    # extensions, and a kernel started that way hangs in early boot.
    if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.M):
        return False, "no vmx or svm in /proc/cpuinfo"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as err:
        return False, f"/dev/kvm: {err.strerror}"
    return True, "vmx/svm present, /dev/kvm opens"


@functools.cache
def accelerator() -> str:
    """`kvm` or `tcg`; prints the choice and its reason once."""
    usable, why = _kvm_usable()
    name = "kvm" if usable else "tcg"
    print(f"# guests run under {name.upper()} ({why})", file=sys.stderr, flush=True)
    return name


def qemu_args(*, one_thread: bool = False) -> list[str]:
    """`one_thread`: where QEMU has to emulate CPUs, it does so in one thread for all of them."""
    if accelerator() == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=single" if one_thread else "tcg", *arch.EMULATED_CPU]
