# SPDX-License-Identifier: GPL-2.0
"""The table of Documentation/hosts.md, of what hosts.py left of the last run of each row; what did not run here stays as it was."""

import json
import re
from pathlib import Path
from typing import Any

from .hosts import ASPECTS, RESULTS, rows
from .profiles import MODES

_MARKS = ("<!-- hosts -->\n", "<!-- end of hosts -->\n")
_NAMES = {"found": "found", "limits": "limits", "io": "I/O, fsync", "flush": "flush", "discard": "discard",
          "resize": "resize", "error": "error", "unplug": "unplug"}  # fmt: skip


class _Notes:
    """Reasons, each with the number by which the table names it."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"


def _entry(told: dict[str, str | None], notes: _Notes) -> str:
    """What a cell of the table says: of our driver, then of the C driver if that differs."""
    def word(value: str | None) -> str:
        if value == "yes":
            return value
        return f"no {notes.number(value)}" if value else f"not run {notes.number('not run yet')}"

    ours = {mode: word(value) for mode, value in told.items() if mode != "c"}
    text = "; ".join(f"{mode} {value}" for mode, value in ours.items())
    if len(set(ours.values())) == 1:
        text = next(iter(ours.values()))
    c = word(told["c"])
    return text if c == text else f"{text}; C {c}"


class _Before:
    """The table that the document has."""

    def __init__(self, text: str) -> None:
        dates, kernels = re.match(r"(.*); kernel (.*); TCG\n", text).groups()
        self.dates, self.kernels = set(dates.split(", ")), set(kernels.split(", "))
        self._reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
        # By back end and driver.
        self.rows = {(row[0], row[2]): row for line in text.splitlines() if line.startswith("| ") for row in [line[2:-2].split(" | ")]}

    def entry(self, row: list[str], aspect: str, notes: _Notes) -> str:
        return re.sub(r"\[(\d+)\]", lambda found: notes.number(self._reasons[found[1]]), row[3 + ASPECTS.index(aspect)])


def table(text: str) -> str:
    """The matrix in Markdown, of the last run of each row, and of the text of the one before."""
    notes, before = _Notes(), _Before(text)
    dates, kernels = set(), set()
    lines = ["| back end | QEMU | driver | " + " | ".join(_NAMES.values()) + " |", "| --- " * (len(ASPECTS) + 3) + "|"]
    for host, kind in rows():
        driver = "request, bio" if kind == "blk" else "scsi"
        path = RESULTS / f"{host.profile(kind)}.json"
        last = before.rows.get((host.title, driver))
        row: dict[str, Any] = {"cells": {}, "missing": "", "qemu": "–"}
        if path.exists():
            last, row = None, json.loads(path.read_text())
            dates.add(row["date"])
            kernels.add(row["kernel"])
        elif last:
            row["qemu"] = last[1]
            dates |= before.dates
            kernels |= before.kernels
        entries = []
        for aspect in ASPECTS:
            why = host.without.get(kind) or row["missing"] or host.cannot_do(kind, aspect)
            modes = ("c", *(MODES if kind == "blk" else ("scsi",)))
            told = {mode: row["cells"].get(mode, {}).get(aspect) for mode in modes}
            if why:
                entries.append(f"– {notes.number(why)}")
            else:
                entries.append(before.entry(last, aspect, notes) if last else _entry(told, notes))
        lines.append(f"| {host.title} | {row['qemu']} | {driver} | " + " | ".join(entries) + " |")
    head = f"{', '.join(sorted(dates))}; kernel {', '.join(sorted(kernels))}; TCG\n\n"
    return head + "\n".join(lines) + "\n\n" + "".join(f"{n}. {text}\n" for n, text in enumerate(notes.texts, 1))


def write_table(path: Path) -> None:
    """Puts it where the marks are."""
    text = path.read_text()
    before, rest = text.split(_MARKS[0])
    last, after = rest.split(_MARKS[1])
    path.write_text(before + _MARKS[0] + table(last) + _MARKS[1] + after)
