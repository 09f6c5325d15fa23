# SPDX-License-Identifier: GPL-2.0
"""The table of Documentation/hosts.md, of what hosts.py left of the last run of each row."""

import json
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


def table() -> str:
    """The matrix in Markdown, of the last run of each row."""
    notes = _Notes()
    found: list[dict[str, Any]] = []
    lines = ["| back end | driver | " + " | ".join(_NAMES.values()) + " |", "| --- " * (len(ASPECTS) + 2) + "|"]
    for host, kind in rows():
        path = RESULTS / f"{host.profile(kind)}.json"
        row = json.loads(path.read_text()) if path.exists() else {"cells": {}, "missing": ""}
        found += [row] if path.exists() else []
        entries = []
        for aspect in ASPECTS:
            why = host.without.get(kind) or row["missing"] or host.cannot_do(kind, aspect)
            modes = ("c", *(MODES if kind == "blk" else ("scsi",)))
            told = {mode: row["cells"].get(mode, {}).get(aspect) for mode in modes}
            entries.append(f"– {notes.number(why)}" if why else _entry(told, notes))
        driver = "request, bio" if kind == "blk" else "scsi"
        lines.append(f"| {host.title} | {driver} | " + " | ".join(entries) + " |")
    words = {key: sorted({row[key] for row in found}) for key in ("date", "qemu", "kernel")}
    head = f"{', '.join(words['date'])}; QEMU {', '.join(words['qemu'])}; kernel {', '.join(words['kernel'])}; TCG\n\n"
    return head + "\n".join(lines) + "\n\n" + "".join(f"{n}. {text}\n" for n, text in enumerate(notes.texts, 1))


def write_table(path: Path) -> None:
    """Puts it where the marks are."""
    text = path.read_text()
    before, rest = text.split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    path.write_text(before + _MARKS[0] + table() + _MARKS[1] + after)
