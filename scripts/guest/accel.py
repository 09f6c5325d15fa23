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


@functools.cache
def clock_words() -> list[str]:
    """For the command line of a guest's kernel whose CPUs are emulated: how fast their counter is, which shows that of the host's, and no
    timers but a tick of constant length.

    Else the kernel measures the counter by a timer, in 10 ms. If QEMU waits for a CPU of the host's in most of them, the result is a
    fraction of the truth, and the guest's clock so many times too fast: each limit of time in it is over too early. One guest of a
    hundred had such a clock on a busy machine. And each time that a CPU goes idle, or ceases to, the kernel would program its timer, for
    which QEMU wakes a thread: a quarter of all that a guest costs. What wants these timers says `highres=on nohz=on`.
    """
    if accelerator() == "kvm" or arch.NAME != "amd64" or not arch.NATIVE:
        return []
    words = ["highres=off", "nohz=off"]
    told = Path("/proc/cpuinfo").read_text()
    # The kernel has this number from the counter's speed: two for each count.
    found = re.search(r"^bogomips\s*: ([\d.]+)$", told, re.M)
    if found and re.search(r"^flags\s*:.*\bconstant_tsc\b", told, re.M):
        words.append(f"tsc_early_khz={round(float(found[1]) * 1000 / 2)}")
    return words


def qemu_args(*, one_thread: bool = False) -> list[str]:
    """`one_thread`: where QEMU has to emulate CPUs, it does so in one thread for all of them."""
    if accelerator() == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=single" if one_thread else "tcg", *arch.EMULATED_CPU]
