# SPDX-License-Identifier: GPL-2.0
"""Boot each profile, gather the KTAP lines of its cases, check the kernel log of each."""

import dataclasses
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from guest import Driver, logcheck
from guest.paths import DISKS, LOGS, outside

from . import scsi
from .profiles import ORACLE, ORACLE_FIRST, Machine, Profile, plug, unplug

_TOLD = re.compile(r"(?:\[ *[\d.]+\] )?vsr (.*)")
_KTAP = re.compile(r"(ok|not ok) (\S+)(?: # (SKIP )?(.*?))?? # time=([\d.]+)$")


@dataclasses.dataclass
class Outcome:
    profile: str
    case: str  # MODE:SCENARIO
    passed: bool
    note: str
    seconds: float
    skipped: bool = False
    cpu: float = 0  # seconds that QEMU was on a CPU of the host's


_print_lock = threading.Lock()


def say(text: str) -> None:
    with _print_lock:
        print(text, flush=True)


def report(outcome: Outcome) -> None:
    mode, scenario = outcome.case.split(":")
    word = "SKIP" if outcome.skipped else "ok" if outcome.passed else "FAILED"
    line = f"{word:6} {outcome.profile:12} {mode:8} {scenario:14} {outcome.seconds:6.1f} s"
    line += f" ({outcome.cpu:.0f} of CPU)" if outcome.cpu else ""
    say(line + (f"  {outcome.note}" if outcome.note else ""))


def cases_of(profile: Profile, driver: Driver) -> list[str]:
    if driver is Driver.C:
        modes: tuple[str, ...] = ORACLE
        if profile.modes == ("bio",):
            return []
    else:
        modes = profile.modes
    cases = []
    if driver is Driver.RS:
        cases += [f"c:{name}" for name in profile.scenarios if name in ORACLE_FIRST]
    # All of one mode, then all of the other: a failure shows whose it is.
    return cases + [f"{mode}:{name}" for mode in modes for name in profile.scenarios]


def _slices(lines: Iterable[str]) -> dict[str, list[str]]:
    """The console log, cut at the marks that the guest leaves around each case."""
    cut: dict[str, list[str]] = {}
    current = "-"
    for line in lines:
        mark = re.search(r"vsr-case (\S+)$", line.strip())
        if mark:
            current = mark[1]
        else:
            cut.setdefault(current, []).append(line)
    return cut


# What begins the list of tasks that wait: main.sh's line, and the kernel's.
_BLOCKED = re.compile(r"# blocked tasks|sysrq: Show Blocked State")
# What main.sh says when it stops before its last case.
_NEW_BOOT = "a new boot for the rest"
# How many failed runs are kept.
_KEPT = 50


def keep(log: Path) -> str:
    """Moves what a failed run left to where no later run overwrites it. Returns its place, for people."""
    failed = LOGS / "failed"
    failed.mkdir(exist_ok=True)
    for old in sorted(failed.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old)
    stamp = time.strftime("%m%d-%H%M%S")
    return outside(log.rename(failed / f"{log.name}-{stamp}"))


def show(lines: list[str]) -> None:
    """Who waits, if a failed case hung, then the last lines that it printed: whoever cuts this off has the most of it."""
    at = next((number for number, line in enumerate(lines) if _BLOCKED.search(line)), len(lines))
    for line in lines[at : at + 120] + lines[max(at - 15, 0) : at]:
        say(f"       | {line}")


def folders(name: str) -> tuple[Path, Path]:
    """Two empty ones: for what is logged, and for the disks."""
    places = LOGS / name, DISKS / name
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    return places


def run_profile(profile: Profile, driver: Driver, wanted: set[str]) -> list[Outcome]:
    """Run all cases of a profile; after a failed one the guest boots afresh for the rest."""
    waiting = [case for case in cases_of(profile, driver) if not wanted or case in wanted]
    done: list[Outcome] = []
    boot = losses = 0
    while waiting:
        try:
            outcomes = _boot(profile, driver, waiting, boot, last_chance=losses == LOSSES)
        except EmulatorFailed as failed:
            outcomes = failed.outcomes
            losses += 1
        boot += 1
        for outcome in outcomes:
            waiting.remove(outcome.case)
        done += outcomes
    return done


class EmulatorFailed(Exception):
    """QEMU lost an end of interrupt: nothing is known of the case that ran then."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


# How often in a profile the emulator may fail.
LOSSES = 2


def _boot(profile: Profile, driver: Driver, cases: list[str], boot: int, *, last_chance: bool) -> list[Outcome]:
    name = f"{driver.value}-{profile.name}" + (f"-{boot + 1}" if boot else "")
    folder = DISKS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    machine = Machine(folder)
    try:
        profile.build(machine)
        return _run(profile, driver, cases, name, machine, last_chance)
    finally:
        machine.close()


def _run(
    profile: Profile, driver: Driver, cases: list[str], name: str, machine: Machine, last_chance: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    used = 0.0

    def on_line(line: str) -> None:
        nonlocal used
        match = _KTAP.match(line)
        if match and ":" in match[2]:
            before, used = used, guest.cpu_seconds()
            outcomes.append(
                Outcome(profile.name, match[2], match[1] == "ok", match[4] or "",
                        float(match[5] or 0), bool(match[3]), used - before)
            )  # fmt: skip
            report(outcomes[-1])
            if match[1] != "ok":
                show(output)
            output.clear()
        else:
            output.append(line)

    output: list[str] = []
    guest = profile.guest(
        name,
        'bash "$VSR_SRC/tests/guest/main.sh"',
        cpus=profile.cpus,
        memory=profile.memory,
        qemu=machine.qemu,
        plugged=machine.plugged,
        driver=driver,
        module=profile.module,
        env={"VSR_CASES": " ".join(cases), **profile.env()},
        handlers={
            "flushlog": machine.flushlog,
            "unflushed": machine.unflushed,
            "flushes": machine.flushes,
            "writes": machine.writes,
            "allocated": machine.allocated,
            "blkdev": machine.blkdev,
            "needs-reset": machine.needs_reset,
            "no-loop": lambda guest, args: machine.no_loop,
            "pause-target": machine.pause_target,
            "storage": machine.tell_storage,
            "daemon": machine.tell_daemon,
            "plug": plug,
            "unplug": unplug,
            **scsi.HANDLERS,
            **machine.handlers,
        },
        deadline=profile.deadline,
        on_line=on_line,
        **profile.options,  # type: ignore[arg-type]
    )
    begin = time.monotonic()
    result = guest.run()
    cut = _slices(guest.console_lines())
    for outcome in outcomes:
        bad = logcheck.problems(cut.get(outcome.case, []), guest.expected_log)
        # What the guest could not know: its kernel complained.
        if bad and outcome.passed:
            outcome.passed, outcome.note = False, f"kernel log: {bad[0]}"
            report(outcome)
    if result.emulator_failed and not last_chance:
        say(f"# {profile.name}: {result.why}; once more from there")
        say(f"#        logs: {keep(result.log)}")
        raise EmulatorFailed(outcomes)
    stopped = any(_NEW_BOOT in line for line in output)
    if not stopped and len(outcomes) < len(cases) and (not outcomes or outcomes[-1].passed):
        # The guest died, or hangs, in the case that has no line.
        case = cases[len(outcomes)]
        bad = logcheck.problems(cut.get(case, []), guest.expected_log)
        note = result.why or "the guest ended early"
        outcomes.append(
            Outcome(profile.name, case, False, f"{note} {bad[:1] or ''}", time.monotonic() - begin)
        )
        report(outcomes[-1])
        show(output)
        blocked = cut.get(case, [])
        if any(_BLOCKED.search(line) for line in blocked):
            show(blocked)
    elif not result.ok and outcomes[-1].passed:
        # After its last case: it did not go down, or its kernel complained about that.
        outcomes[-1].passed, outcomes[-1].note = False, f"afterwards: {result.why}"
        report(outcomes[-1])
    if any(not outcome.passed for outcome in outcomes):
        # What the devices of our own have seen and said.
        for left in (*machine.folder.glob("*.log"), *machine.folder.glob("*.messages")):
            shutil.copy(left, result.log)
        say(f"       logs: {keep(result.log)}")
    else:
        shutil.rmtree(machine.folder, ignore_errors=True)
    return outcomes


def console_verdict(lines: list[str]) -> str:
    """What a guest's console tells was wrong, if its init prints `vsr ok` or `vsr not ok` for each case, and in the end
    `vsr done` with their number."""
    told = [found[1] for line in lines if (found := _TOLD.match(line))]
    bad = [line for line in told if line.startswith("not ok")]
    bad += logcheck.problems(lines, [])
    if bad:
        return bad[0] + (f" (and {len(bad) - 1} more)" if bad[1:] else "")
    if not told or not told[-1].startswith("done"):
        return f"the guest's init did not end; the last line is: {lines[-1] if lines else 'none'}"
    good = sum(line.startswith("ok ") for line in told)
    return "" if told[-1] == f"done {good}" else f"{good} good cases, and the guest says {told[-1]}"


def conclude(outcome: Outcome, lines: list[str], log: Path, folder: Path) -> list[Outcome]:
    """Report a case that was a boot of its own; keep its disks only if it failed."""
    report(outcome)
    if outcome.passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        show(lines)
        say(f"       logs: {keep(log)}")
    return [outcome]


def fatal(text: str) -> None:
    sys.exit(f"tests/run: {text}")


__all__ = [
    "Outcome", "Path", "cases_of", "conclude", "console_verdict", "fatal", "keep", "report", "run_profile", "say",
]  # fmt: skip
