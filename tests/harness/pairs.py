# SPDX-License-Identifier: GPL-2.0
"""Two guests at the same time, each with its half of a script; `host meet WORD` in one waits for the other."""

import dataclasses
import shutil
import threading
from pathlib import Path

from guest import Driver, Guest, Result

from .runner import Outcome, keep, report, say

# A boot under TCG, and a machine that others use.
PATIENCE = 240


@dataclasses.dataclass
class Boot:
    """A guest's part in the script, $ROLE, and its devices."""

    role: str
    qemu: list[str]


class Pair:
    """`options` are those of Guest."""

    def __init__(self, name: str, script: str, driver: Driver, env: dict[str, str], **options: object) -> None:
        self.name, self.script, self.driver, self.env, self.options = name, script, driver, env, options
        self._barrier = threading.Barrier(2)
        self._words: set[str] = set()
        self.results: dict[str, Result] = {}
        self.output: list[str] = []

    def _meet(self, guest: Guest, args: list[str]) -> None:
        """host meet WORD: both have come so far."""
        self._words.add(args[0])
        self._barrier.wait(PATIENCE)
        if self._words != {args[0]}:
            raise RuntimeError(f"the guests are not in step: {self._words}")
        self._barrier.wait(PATIENCE)
        self._words.clear()

    def _boots(self, boots: list[Boot]) -> None:
        for boot in boots:
            result = Guest(
                f"{self.name}-{boot.role}",
                f'bash "$VSR_SRC/tests/guest/{self.script}"',
                qemu=boot.qemu,
                driver=self.driver,
                env={**self.env, "ROLE": boot.role},
                handlers={"meet": self._meet},
                deadline=600,
                on_line=lambda line, role=boot.role: self.output.append(f"{role}: {line}"),
                **self.options,  # type: ignore[arg-type]
            ).run()
            self.results[boot.role] = result
            if not result.ok:
                # The other must not wait for it.
                self._barrier.abort()
                return

    def run(self, one: list[Boot], other: list[Boot]) -> str:
        """Each side's boots, one after the other. Returns what was wrong."""
        side = threading.Thread(target=self._boots, args=(other,))
        side.start()
        self._boots(one)
        side.join()
        roles = [boot.role for boot in (*one, *other)]
        # Whose guest failed by itself says why; the other has only waited for it.
        bad = [(role, self.results[role].why) for role in roles if role in self.results and self.results[role].why]
        if bad:
            return "; ".join(f"{role}: {why}" for role, why in bad)
        missing = [role for role in roles if role not in self.results]
        return f"no result of {missing}" if missing else ""

    def conclude(self, outcome: Outcome, folder: Path) -> list[Outcome]:
        """Report it; of what passed, nothing is kept."""
        if outcome.passed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for line in self.output[-30:]:
                say(f"       | {line}")
            for result in self.results.values():
                say(f"       logs: {keep(result.log)}")
        report(outcome)
        return [outcome]
