# SPDX-License-Identifier: GPL-2.0
"""A guest that sleeps and wakes under I/O: suspend to idle, and each stage on the way to RAM.

The usual guest's root comes by 9p, whose driver does not survive sleep. So this one has all that it
needs in its initramfs, and tells what comes of it on the serial console.
"""

import lzma
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

from guest import Driver, Qmp, accel, initrd
from guest.modules import our_module
from guest.paths import DISKS, LOGS, SRC, stock_kernel
from virtme import cpiowriter, mkinitramfs

from .profiles import MODES, ORACLE
from .runner import Outcome, conclude, console_verdict

PROFILE = "suspend"
DEADLINE = 600
INIT = SRC / "tests/suspend/init"
# Cases of init, and files without which it has one case less: what the C driver is not asked.
COUNT = 10
OURS = ("build-id", "mode", "polled")


def modes(driver: Driver) -> tuple[str, ...]:
    return ORACLE if driver is Driver.C else MODES


def _libraries(program: Path) -> set[Path]:
    """What the loader maps for a program."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", found)}


def _module(mode: str) -> bytes:
    if mode != "c":
        return our_module().read_bytes()
    release, _ = stock_kernel()
    path = Path(f"/usr/lib/modules/{release}/kernel/drivers/block/virtio_blk.ko.xz")
    return lzma.decompress(path.read_bytes())


def _build_id(module: Path) -> bytes:
    """The note as the kernel shows it under /sys/module."""
    note = module.with_suffix(".note")
    subprocess.run(
        ["objcopy", "-O", "binary", "--only-section=.note.gnu.build-id", "--set-section-flags",
         ".note.gnu.build-id=alloc", module, note],
        check=True,
    )  # fmt: skip
    return note.read_bytes()


def _initramfs(folder: Path, mode: str) -> Path:
    path = folder / "initramfs"
    module = folder / "virtio_blk.ko"
    module.write_bytes(_module(mode))
    # In C, who polls is frozen, and its I/O with it: the driver would wait for ever.
    parameters = "" if mode == "c" else f"use_bio={int(mode == 'bio')} poll_queues=1"
    files: dict[str, tuple[bytes, int]] = {
        "bin/busybox": (Path("/bin/busybox").read_bytes(), 0o755),
        "virtio_blk.ko": (module.read_bytes(), 0o644),
        "parameters": (parameters.encode(), 0o644),
        "init": (INIT.read_bytes(), 0o755),
    }
    if mode != "c":
        files["build-id"] = (_build_id(module), 0o644)
        files["mode"] = (f"{mode}\n".encode(), 0o644)
        files["polled"] = (b"", 0o644)
    fio = Path("/usr/bin/fio")
    for program in {fio, *_libraries(fio)}:
        files[str(program).lstrip("/")] = (program.read_bytes(), 0o755)
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


def _boot(initramfs: Path, image: Path, console: Path) -> str:
    """Run the guest; what it says goes to `console`. Returns what was wrong with QEMU itself."""
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "pc", *accel.qemu_args(), "-smp", "2", "-m", "512M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(initramfs),
        "-append", "console=ttyS0 quiet loglevel=6 no_timer_check tsc=reliable mitigations=off nokaslr panic=-1 "
        "no_console_suspend suspend.pm_test_delay=1 sysctl.kernel.hung_task_timeout_secs=60",
        "-serial", f"file:{console}",
        "-blockdev", f"driver=file,filename={image},node-name=disk",
        "-device", "virtio-blk-pci,drive=disk,serial=disk,num-queues=2",
    ]  # fmt: skip
    console.with_name("command").write_text(shlex.join(command) + "\n")
    monitor, monitor_qemu = socket.socketpair()
    fd = monitor_qemu.fileno()
    command += ["-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control"]
    with (
        open(console.with_name("qemu.log"), "wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, pass_fds=[fd]) as process,
    ):
        monitor_qemu.close()
        try:
            _wake(process, console, Qmp(monitor))
            return "" if process.wait(10) == 0 else f"QEMU ended with {process.returncode}"
        except TimeoutError:
            return f"not finished after {DEADLINE} s, killed"
        finally:
            process.kill()
            monitor.close()


def _wake(process: subprocess.Popen[bytes], console: Path, qmp: Qmp) -> None:
    """Wake the guest each time that it says it goes to sleep, until it ends."""
    end = time.monotonic() + DEADLINE
    woken = 0
    while process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)
        text = console.read_text(errors="replace") if console.exists() else ""
        if text.count("vsr-sleeps") > woken:
            # It is asleep by then; else the wake-up would come too early.
            time.sleep(8)
            # The power button.
            qmp.run("system_powerdown")
            woken += 1


def run(mode: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    name = f"{driver.value}-suspend-{mode}"
    log, folder = LOGS / name, DISKS / name
    for place in (log, folder):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    console, image = log / "console.log", folder / "disk.img"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    why = _boot(_initramfs(folder, mode), image, console)
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    why = why or console_verdict(lines, COUNT - len(OURS) * (mode == "c"))
    outcome = Outcome(PROFILE, f"{mode}:{PROFILE}", not why, why, time.monotonic() - begin)
    return conclude(outcome, lines, log, folder)
