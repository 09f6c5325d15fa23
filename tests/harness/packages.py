# SPDX-License-Identifier: GPL-2.0
"""Cases that need packages which the sysroot does not have: they run in a copy of it (scripts/with-packages), in which tests/run runs
again."""

import os
import re
import subprocess
import time
from collections.abc import Iterable

from guest.paths import SRC

from .paths import TOLD
from .runner import Outcome, report, say

# Set in the copy.
_WITHIN = "VSR_WITH_PACKAGES"


def within() -> bool:
    """Whether this is the copy that has them."""
    return _WITHIN in os.environ


def run(packages: str, profile: str, cases: Iterable[str]) -> list[Outcome]:
    """What came of these cases of a profile in the copy. `packages` as with-packages takes them."""
    begin = time.monotonic()
    done = subprocess.run(
        [SRC / "scripts/with-packages", packages, SRC / "tests/run", "--full", "--jobs", "1", "--only",
         *(f"{profile}:{case}" for case in cases)],
        env={**os.environ, _WITHIN: "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    for line in lines:
        if done.returncode != 0:
            say(f"       | {line}")
        elif line.startswith(TOLD):
            say(line)
    outcomes = [_outcome(profile, case, lines, time.monotonic() - begin) for case in cases]
    for outcome in outcomes:
        report(outcome)
    return outcomes


def _outcome(profile: str, case: str, lines: list[str], seconds: float) -> Outcome:
    """What tests/run says of a case in the end."""
    for line in lines:
        if line.startswith(f"FAILED {profile} {case}: "):
            return Outcome(profile, case, False, line.split(": ", 1)[1], seconds)
    if not re.fullmatch(r"\d+ passed, \d+ failed", lines[-1] if lines else ""):
        return Outcome(profile, case, False, " ".join(lines[-1:]), seconds)
    mode, scenario = case.split(":")
    form = re.compile(rf"(ok|SKIP) +{profile} +{mode} +{scenario} +([\d.]+) s(?:  (.*))?")
    told = [found for line in lines if (found := form.fullmatch(line))]
    if not told:
        return Outcome(profile, case, False, "it did not run", seconds)
    return Outcome(profile, case, True, told[-1][3] or "", float(told[-1][2]), told[-1][1] == "SKIP")
