# SPDX-License-Identifier: GPL-2.0
"""In which order the guests of a run are begun, and how many at a time."""

import sys
import threading
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts")]

from guest import Driver  # noqa: E402
from harness.plan import LONG, Work, everything, run_side_by_side  # noqa: E402
from harness.runner import Outcome  # noqa: E402


def test_what_takes_long_is_known():
    assert set(LONG) <= {work.profile for work in everything(Driver.RS, full=False)}


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 3), (3, 4)])
def test_all_is_run_once_and_what_waits_beside_the_rest(jobs: int, most: int):
    lock = threading.Lock()
    running: list[Work] = []
    crowds: list[list[bool]] = []

    def run(work: Work, cases: set[str]) -> list[Outcome]:
        with lock:
            running.append(work)
            crowds.append([one.waits for one in running])
        time.sleep(0.02)
        with lock:
            running.remove(work)
        return [Outcome(work.profile, case, True, "", 0) for case in cases]

    chosen = [(Work(f"p{n}", ["bio:x"], lambda wanted: [], waits=n % 3 == 0), {"bio:x"}) for n in range(30)]
    outcomes = run_side_by_side(chosen, jobs, run)
    assert sorted(outcome.profile for outcome in outcomes) == sorted(work.profile for work, _ in chosen)
    assert max(map(len, crowds)) <= most
    assert max(crowd.count(False) for crowd in crowds) <= jobs


def test_the_long_ones_come_first():
    begun: list[str] = []

    def run(work: Work, cases: set[str]) -> list[Outcome]:
        begun.append(work.profile)
        return []

    names = ["mmap", "device", "vectors", "hotplug"]
    run_side_by_side([(Work(name, ["bio:x"], lambda wanted: []), {"bio:x"}) for name in names], 1, run)
    assert begun == sorted(names, key=lambda name: -LONG.get(name, 0)) == ["hotplug", "device", "mmap", "vectors"]
