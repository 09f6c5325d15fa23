# SPDX-License-Identifier: GPL-2.0
"""All that there is to run, and which of it is wanted."""

import dataclasses
import difflib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from guest import Driver
from guest.paths import stock

from . import clusters, debian, hosts, in_tree, install, libvirt, mmio, powercut, reservations, scsi, snapshot, suspend, vng
from .profiles import CONFIG_LIES, LIES_KINDS, PROFILES, cases_of_disks, vectors
from .runner import Outcome, cases_of, run_profile


# What takes long, the longest first: begun last, it would run alone. Seconds in `make test`, on two busy cores by TCG.
LONG = {
    "install": 1000, "platform": 980, "device-late": 760, "swap": 730, "scsi-device-late": 600, "io": 570, "hotplug": 500, "device": 490,
    "scsi-platform": 440, "scsi": 360, "flush": 350, "scsi-hotplug": 290, "rings": 280, "scsi-stall": 250, "queues": 210, "campaign": 210, "vng-request": 200,
    "vng-bio": 200, "stopped": 200, "scsi-device": 180, "powercut": 150, "vng-scsi": 150, "scsi-lost": 150, "vng-bio-conf": 120, "scsi-sample": 100,
}  # fmt: skip


@dataclasses.dataclass
class Work:
    """Cases (MODE:SCENARIO) that one thread runs, in guests of their own."""

    profile: str
    cases: list[str]
    run: Callable[[set[str]], list[Outcome]]
    waits: bool = False  # see Profile

    def named(self, name: str) -> set[str]:
        """The cases that a name means."""
        return {case for case in self.cases if name in names(self.profile, case)}


def names(profile: str, case: str) -> set[str]:
    """How a case can be called, alone or with others."""
    scenario = case.split(":")[1]
    return {profile, scenario, case, f"{profile}:{scenario}", f"{profile}:{case}"}


def everything(driver: Driver, full: bool) -> list[Work]:
    """As it is listed."""
    # Another kernel has neither the C driver nor sleep, maybe, and was not installed.
    work = []
    profiles = [
        *PROFILES, *(vectors(full) if stock() else []), *scsi.PROFILES, *((LIES_KINDS, scsi.LIES_KINDS, CONFIG_LIES) if full else ()),
        *([*clusters.PROFILES, *mmio.PROFILES] if full and stock() else []),
        *(vng.profiles(full) if stock() else []),
    ]  # fmt: skip
    for profile in profiles:
        cases = [case for case in cases_of(profile, driver) if stock() or not case.startswith("c:")]
        if cases:
            work.append(Work(profile.name, cases, lambda wanted, p=profile: run_profile(p, driver, wanted), profile.waits))
    cuts = 20 if full else 3
    for case in cases_of_disks(powercut.SCENARIO, driver):
        work.append(Work(powercut.SCENARIO, [case], lambda _, c=case: powercut.run(c, driver, cuts)))
    work.append(Work(reservations.PROFILE, [reservations.case(driver)], lambda _: reservations.run(driver)))
    for name, case, cluster in clusters.works(driver) if full and stock() else []:
        work.append(Work(name, [case], cluster))
    for profile in hosts.profiles() if full and stock() else []:
        work.append(Work(profile.name, cases_of(profile, driver), lambda wanted, n=profile.name: hosts.run(n, driver, wanted)))
    if stock():
        # These have kernels and guests of their own.
        for case in in_tree.cases(driver) if full else []:
            work.append(Work(in_tree.PROFILE, [case], lambda _, c=case: in_tree.run(c)))
        for case in libvirt.cases(driver) if full else []:
            work.append(Work(libvirt.PROFILE, [case], lambda _, c=case: libvirt.run(c, driver)))
        for case in cases_of_disks(suspend.SCENARIO, driver):
            work.append(Work(suspend.SCENARIO, [case], lambda _, c=case: suspend.run(c, driver)))
        for case in snapshot.cases(driver) if full else []:
            work.append(Work(snapshot.PROFILE, [case], lambda _, c=case: snapshot.run(c, driver)))
        if cases := install.cases(driver, full):
            work.append(Work(install.PROFILE, cases, install.run))
        for case in debian.cases(driver) if full else []:
            work.append(Work(debian.PROFILE, [case], lambda _, c=case: debian.run(c)))
    return work


def select(work: Iterable[Work], only: list[str]) -> list[tuple[Work, set[str]]]:
    """What of it is named, all of it if nothing is. LookupError with advice if a name is nobody's."""
    work = list(work)
    known = {name for item in work for case in item.cases for name in names(item.profile, case)}
    for name in only:
        if name not in known:
            raise LookupError(f"nothing is named {name}{_advice(name, known)}; see --list")
    chosen = []
    for item in work:
        wanted = set(item.cases) if not only else set().union(*(item.named(name) for name in only))
        if wanted:
            chosen.append((item, wanted))
    return chosen


def run_side_by_side(
    chosen: Iterable[tuple[Work, set[str]]], jobs: int, run: Callable[[Work, set[str]], list[Outcome]]
) -> list[Outcome]:
    """So many guests at a time, the long ones first; and if that is more than one, another one of those that mostly wait."""
    lock = threading.Lock()
    in_turn = sorted(chosen, key=lambda item: -LONG.get(item[0].profile, 0))
    busy = deque(item for item in in_turn if not item[0].waits)
    waiting = deque(item for item in in_turn if item[0].waits)

    def lane(lines: list[deque[tuple[Work, set[str]]]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while True:
            with lock:
                line = next(filter(None, lines), None)
                if not line:
                    return outcomes
                item = line.popleft()
            outcomes += run(*item)

    # Who has nothing else to do takes what waits as well.
    lanes = [[busy, waiting]] * jobs + [[waiting]] * (jobs > 1)
    with ThreadPoolExecutor(len(lanes)) as pool:
        return [outcome for outcomes in pool.map(lane, lanes) for outcome in outcomes]


def _advice(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, 4, 0.7)
    near += sorted(other for other in known if name in other and other not in near)[: 4 - len(near)]
    return f"; there is {', '.join(near)}" if near else ""
