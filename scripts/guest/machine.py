# SPDX-License-Identifier: GPL-2.0
"""One guest: its machine, its script, and what came of it."""

import ctypes
import dataclasses
import fcntl
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import accel, arch, initrd, lapic, logcheck, shares
from .modules import OUR_MODULES, Driver, build_id, module_tree, our_module
from .paths import GUEST_ROOT, HERE, LOGS, SRC, debug, outside, stock
from .qmp import Qmp, QmpError

# A handler of `host NAME ARGS` in the guest; what it returns, the guest prints.
Handler = Callable[["Guest", list[str]], str | None]

# How many times slower than the stock kernel the debug kernel is, roughly.
SLOWNESS = 5

# A guest of which nothing was heard after so many seconds hangs in early boot, see `run()`; most take 10 to 20. Where another try
# follows, that costs less than to wait longer, but for what it waited for a CPU of the host's; the last one has time enough.
BOOT_LIMIT = 300
FIRST_BOOT_LIMIT = 100

_COMMAND_LINE = (
    f"console={arch.CONSOLE} quiet loglevel=1 panic=-1 mitigations=off nokaslr tsc=reliable "
    "no_timer_check audit=0 apparmor=0 cryptomgr.notests rcupdate.rcu_expedited=1 "
    "random.trust_cpu=on net.ifnames=0 printk.devkmsg=on sysrq_always_enabled"
)


@dataclasses.dataclass
class Result:
    name: str
    status: int | None  # exit status of the script; None if the guest did not get there
    why: str  # empty if all is well
    seconds: float
    boot_seconds: float | None
    log: Path  # the folder with all that the run left, until the next run of that name
    emulator_failed: bool = False  # see lapic.py

    @property
    def ok(self) -> bool:
        return not self.why

    @property
    def place(self) -> str:
        """That folder, for people."""
        return outside(self.log)


def _die_with_parent() -> None:
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Guest:
    """A virtual machine that runs one script.

    `qemu` holds further QEMU arguments, `cmdline` further kernel arguments, `env` what
    the script finds in its environment, `handlers` the host's side of `host NAME ARGS`.
    `module` is the one that `load_driver` loads. With `installed`, our modules lie under updates/ for modprobe; with `udev`, the guest
    coldplugs its devices as a distribution does. `interactive` gives the terminal to a shell.
    With `shared_memory`, other processes can map the guest's memory, as vhost-user needs it. `plugged` holds devices that QEMU
    gets one by one before the guest starts, see `_plug()`.
    """

    first_boot_limit = FIRST_BOOT_LIMIT
    boot_limit = BOOT_LIMIT

    def __init__(
        self,
        name: str,
        script: str,
        *,
        machine: str = "pc",
        cpus: int = 2,
        memory: str = "512M",
        qemu: list[str] | None = None,
        cmdline: list[str] | None = None,
        driver: Driver | None = None,
        module: str = "virtio_blk",
        env: dict[str, str] | None = None,
        handlers: dict[str, Handler] | None = None,
        installed: bool = False,
        udev: bool = False,
        interactive: bool = False,
        shared_memory: bool = False,
        one_thread: bool = False,
        plugged: list[dict[str, Any]] | None = None,
        deadline: float = 300,
        loglevel: int = 7,
        expected_log: list[str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.script = script
        self.machine = machine
        self.cpus = cpus
        # KASAN takes an eighth of it, and what was freed for a while.
        self.memory = f"{2 * int(memory[:-1])}{memory[-1]}" if debug() else memory
        self.qemu = qemu or []
        self.driver = driver or Driver.from_env()
        self.module = module
        self.cmdline = list(cmdline or [])
        if not udev:
            # Whatever asks for a driver by alias must not bring the C one first.
            self.cmdline.append("modprobe.blacklist=" + ",".join(OUR_MODULES))
        self.env = dict(env or {})
        self.handlers: dict[str, Handler] = {
            "qmp": _handle_qmp,
            "expect": _handle_expect,
            "kill": _handle_kill,
            **(handlers or {}),
        }
        self.installed = installed
        self.udev = udev
        self.interactive = interactive
        self.shared_memory = shared_memory
        self.one_thread = one_thread
        self.plugged = plugged or []
        self.deadline = deadline * SLOWNESS if debug() else deadline
        self.loglevel = loglevel
        self.expected_log = list(expected_log or [])
        self.on_line = on_line
        self.qmp: Qmp
        self.killed = False
        self._status: int | None = None
        self._boot_limit = BOOT_LIMIT
        self._is_up = False
        self._lost = ""
        self._boot_seconds: float | None = None

    # What the guest and QEMU find in the run's folder.

    def _open_log_folder(self) -> Path:
        """A folder for this run; a name in use by another run gets a number."""
        LOGS.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            folder = LOGS / (self.name if number == 0 else f"{self.name}.{number}")
            lock = open(f"{folder}.lock", "w", encoding="ascii")  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self._lock = lock
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return folder
        raise SystemExit(f"guest: too many runs named {self.name}")

    def _environment(self) -> dict[str, str]:
        env = {
            "DRIVER": self.driver.value,
            "VSR_SRC": str(SRC),
            "VSR_GUEST_LIB": str(HERE / "lib.sh"),
            "VSR_LOGLEVEL": str(self.loglevel),
            "VSR_CPUS": str(self.cpus),
            "VSR_MODULE": self.module,
            "VSR_SLOWNESS": str(SLOWNESS if debug() else 1),
            "VSR_DEADLINE": str(round(self.deadline)),
            "PYTHONDONTWRITEBYTECODE": "1",
            # The last line of a failed case's output is the reason.
            "PYTHONUNBUFFERED": "1",
        }
        if self.driver is Driver.RS:
            # A copy: a build meanwhile must not change what this guest tests. Nobody debugs there, and the guest reads all of it.
            module = our_module(self.module)
            copy = self.log / module.name
            subprocess.run(["strip", "--strip-debug", "-o", copy, module] if arch.NATIVE else ["cp", module, copy], check=True)
            env["VSR_KO"] = f"/run/vsr/{module.name}"
            env["VSR_BUILD_ID"] = build_id(copy)
            if self.installed or not stock():
                env["VSR_MODULE_TREE"] = str(module_tree())
        if self.udev:
            env["VSR_UDEV"] = "1"
        if self.interactive:
            env["VSR_INTERACTIVE"] = "1"
            env["TERM"] = os.environ.get("TERM", "dumb")
            try:
                size = os.get_terminal_size()
                env["VSR_STTY"] = f"rows {size.lines} cols {size.columns} sane"
            except OSError:
                pass
        return env | self.env

    def _prepare(self) -> None:
        self.log = self._open_log_folder()
        for name in ("init.sh",):
            shutil.copy(HERE / name, self.log)
        (self.log / "script").write_text(f'. "$VSR_GUEST_LIB"\n{self.script}\n')
        env = "".join(f"{k}={shlex.quote(v)}\n" for k, v in self._environment().items())
        (self.log / "env").write_text(env)
        self._shares = [shares.Share("root", GUEST_ROOT, self.log), shares.Share("run", self.log, self.log, writable=True)]

    def _command(self, channel: int, monitor: int) -> list[str]:
        console = self.log / "console.log"
        # Where QEMU counts instructions, these are the guest's clock.
        clock = [] if "-icount" in self.qemu else accel.clock_words()
        command = [
            arch.QEMU,
            "-name", self.name,
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", arch.MACHINES.get(self.machine, self.machine),
            *arch.FIRMWARE,
            *accel.qemu_args(one_thread=self.one_thread),
            "-smp", str(self.cpus),
            "-m", self.memory,
            "-kernel", str(initrd.kernel_image()),
            "-initrd", str(initrd.initramfs(self.memory)),
            "-append", " ".join([_COMMAND_LINE, *arch.COMMAND_LINE, *clock, *self.cmdline]),
            "-chardev", f"socket,id=vsr-qmp,fd={monitor}", "-mon", "chardev=vsr-qmp,mode=control",
            "-chardev", f"file,id=vsr-console,path={console}", "-serial", "chardev:vsr-console",
            "-device", "virtio-serial-pci,id=vsr-serial,max_ports=8",
            "-chardev", f"socket,id=vsr-host,fd={channel}",
            "-device", "virtserialport,bus=vsr-serial.0,chardev=vsr-host,name=vsr.host",
            *(argument for share in self._shares for argument in share.qemu_args()),
        ]  # fmt: skip
        if self.interactive:
            command += [
                "-chardev", "stdio,id=vsr-tty,signal=off,mux=on", "-mon", "chardev=vsr-tty",
                "-device", "virtconsole,bus=vsr-serial.0,chardev=vsr-tty",
            ]  # fmt: skip
        else:
            command += [
                "-chardev", "file,id=vsr-out,path=/proc/self/fd/1",
                "-device", "virtserialport,bus=vsr-serial.0,chardev=vsr-out,name=vsr.out",
            ]  # fmt: skip
        if self.shared_memory or shares.by_virtiofs():
            command += [
                "-object", f"memory-backend-memfd,id=vsr-memory,size={self.memory},share=on",
                "-machine", "memory-backend=vsr-memory",
            ]  # fmt: skip
        if self.plugged:
            command.append("-S")
        return command + self.qemu

    # The run.

    def run(self) -> Result:
        self._boot_limit = self.boot_limit if self.interactive else self.first_boot_limit
        result = self._run_once()
        # Once in hundreds of boots under TCG, on a busy machine, a guest falls over before its
        # init is done: the kernel's own module with a bad signature, say. No driver under test
        # was loaded yet.
        if not (self._came_up() or result.status is not None or self.killed or self.interactive):
            print(f"# {self.name} did not come up, once more: {result.why}", flush=True)
            self._boot_limit = self.boot_limit
            result = self._run_once()
        return result

    def _came_up(self) -> bool:
        """Whether it may have loaded a driver under test."""
        return self._is_up or self._boot_seconds is not None

    def _run_once(self) -> Result:
        self._status = None
        self._is_up = False
        self._prepare()
        channel, channel_qemu = socket.socketpair()
        monitor, monitor_qemu = socket.socketpair()
        self.qmp = Qmp(monitor)
        command = self._command(channel_qemu.fileno(), monitor_qemu.fileno())
        (self.log / "command").write_text(shlex.join(command) + "\n")
        servers = [server for share in self._shares if (server := share.serve(_die_with_parent))]
        self._start = time.monotonic()
        with open(self.log / "qemu.log", "wb") as qemu_log:
            self._process = subprocess.Popen(
                command,
                stdin=None if self.interactive else subprocess.DEVNULL,
                stdout=None if self.interactive else subprocess.PIPE,
                stderr=qemu_log,
                pass_fds=(channel_qemu.fileno(), monitor_qemu.fileno()),
                preexec_fn=_die_with_parent,
                # QEMU may be a child of a child; a terminal's shell has to be of the terminal's group.
                process_group=None if self.interactive else 0,
            )
        channel_qemu.close()
        monitor_qemu.close()
        reader = threading.Thread(target=self._read_output, daemon=True)
        reader.start()
        expired = False
        try:
            if self.plugged:
                self._plug()
            expired = not self._serve(channel)
            if expired:
                self.qmp.show_blocked()
        finally:
            self._kill()
            self._process.wait()
            for server in servers:
                server.kill()
                server.wait()
            reader.join(10)
            channel.close()
            monitor.close()
        result = self._result(expired)
        self._lock.close()
        return result

    def _plug(self) -> None:
        """Add the devices that QEMU's command line does not have, and let the guest start.

        Whatever a device adds to the machine makes QEMU draw its maps of the memory anew, one for each virtio device that is
        there; and what it draws while it builds the machine it frees when all is built. Between commands it frees it, too.
        """
        for device in self.plugged:
            self.qmp.run("device_add", **device)
        self.qmp.run("cont")
        self._start = time.monotonic()

    def cpu_seconds(self) -> float:
        """What QEMU, which may be a child of a child, had of the host's CPUs up to now."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # Its process group; user and system time.
            if int(fields[2]) == self._process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Cut the guest's power, on purpose."""
        self.killed = True
        self._kill()

    def _kill(self) -> None:
        if self.interactive:
            self._process.kill()
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _read_output(self) -> None:
        if self._process.stdout is None:
            return
        with open(self.log / "output", "wb") as copy:
            for line in self._process.stdout:
                if self._boot_seconds is None:
                    self._boot_seconds = time.monotonic() - self._start
                copy.write(line)
                copy.flush()
                if self.on_line:
                    self.on_line(line.decode(errors="replace").rstrip("\r\n"))

    def _serve(self, channel: socket.socket) -> bool:
        """Answer the guest until it ends; false if the deadline came first."""
        buffer = b""
        end = None if self.interactive else self._start + self.deadline
        may_lose = not self.interactive and not self.one_thread and arch.NAME == "amd64" and accel.accelerator() == "tcg"
        looks = lapic.Looks()
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                if end is not None and (now >= end or self._hangs_in_boot(now)):
                    return False
                if may_lose and self._is_up:
                    self._lost = looks.look(self.qmp, self.cpus, now)
                    if self._lost:
                        return False
                if not selector.select(None if end is None else min(end - now, 10)):
                    continue
                try:
                    data = channel.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    # QEMU is ending: nothing more can come.
                    try:
                        self._process.wait(None if end is None else max(end - time.monotonic(), 5))
                    except subprocess.TimeoutExpired:
                        return False
                    return True
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self._answer(channel, line.decode(errors="replace"))

    def _hangs_in_boot(self, now: float) -> bool:
        if self._is_up or self._boot_seconds is not None:
            return False
        seconds = (now - self._start) / (SLOWNESS if debug() else 1)
        return seconds > self.boot_limit or (seconds > self._boot_limit and seconds - self._starved() > self._boot_limit)

    def _starved(self) -> float:
        """How many seconds the hungriest of QEMU's threads was ready to run, and did not; 0 if the host does not count it."""
        try:
            threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
            return max(int(thread.read_text().split()[1]) for thread in threads) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def _answer(self, channel: socket.socket, line: str) -> None:
        name, *args = line.split(" ")
        quiet = name.startswith("!")
        name = name.removeprefix("!")
        # Whatever it says: its init is done.
        self._is_up = True
        if name == "up":
            return
        if name == "exit":
            self._status = int(args[0])
            return
        try:
            if name not in self.handlers:
                raise KeyError(f"the host knows no request {name!r}")
            reply = self.handlers[name](self, args) or ""
            answer = f"ok {reply}".strip()
        except Exception as err:  # noqa: BLE001 # the guest's script has to hear of it
            answer = f"error {type(err).__name__}: {err}"
            print(f"# {self.name}: host {line}: {err}", file=sys.stderr, flush=True)
        if not quiet and not self.killed:
            try:
                channel.sendall(answer.replace("\n", " ").encode() + b"\n")
            except OSError:
                pass

    # What came of it.

    def console_lines(self) -> list[str]:
        try:
            return (self.log / "console.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _result(self, expired: bool) -> Result:
        seconds = time.monotonic() - self._start
        why = []
        bad = logcheck.problems(self.console_lines(), self.expected_log)
        if self._lost:
            why.append(f"QEMU lost an end of interrupt ({self._lost}), killed after {seconds:.0f} s")
        elif expired:
            why.append(f"not finished after {seconds:.0f} s, killed")
        elif self._status is None and not self.killed and not self.interactive:
            why.append("the guest ended before its script did")
        elif self._status:
            why.append(f"exit status {self._status}")
        if bad:
            why.append(f"kernel log: {bad[0]}" + (f" (and {len(bad) - 1} more)" if bad[1:] else ""))
        if why:
            qemu = (self.log / "qemu.log").read_text(errors="replace").strip().splitlines()
            why += [f"QEMU: {line}" for line in qemu[-1:]]
        return Result(
            self.name, self._status, "; ".join(why), seconds, self._boot_seconds, self.log, bool(self._lost)
        )


def _handle_qmp(guest: Guest, args: list[str]) -> str:
    """host qmp COMMAND [KEY=VALUE...]; a value that looks like a number is one."""
    values: dict[str, int | str] = {}
    for item in args[1:]:
        key, _, value = item.partition("=")
        values[key] = int(value) if value.lstrip("-").isdigit() else value
    answer = guest.qmp.run(args[0], **values)
    return str(answer) if answer else ""


def _handle_expect(guest: Guest, args: list[str]) -> None:
    guest.expected_log.append(" ".join(args))


def _handle_kill(guest: Guest, args: list[str]) -> None:
    guest.kill()


__all__ = ["Driver", "Guest", "Handler", "QmpError", "Result"]
