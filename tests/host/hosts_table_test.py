# SPDX-License-Identifier: GPL-2.0
"""What the table of hosts is made of: the rows that ran here, and the rest of the one that the document has."""

import json
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts")]

from harness import hosts_table  # noqa: E402
from harness.hosts import ASPECTS  # noqa: E402


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The table of the document; nothing ran here."""
    monkeypatch.setattr(hosts_table, "RESULTS", tmp_path)
    document = (TESTS.parent / "Documentation/hosts.md").read_text()
    return document.split("<!-- hosts -->\n")[1].split("<!-- end of hosts -->\n")[0]


def test_what_did_not_run_stays(text: str):
    assert hosts_table.table(text) == text


def test_a_row_that_ran_is_new(text: str, tmp_path: Path):
    told = {"found": "yes", "limits": "yes", **{aspect: "too small" for aspect in ASPECTS[2:]}}
    row = {"date": "2030-01-01", "qemu": "12.0.0", "kernel": "8.0", "missing": "", "cells": {"c": told, "scsi": told}}
    (tmp_path / "hosts-file-scsi.json").write_text(json.dumps(row))
    new = hosts_table.table(text)
    found = [line for line in new.splitlines() if "2030-01-01" in line or "12.0.0" in line]
    assert found[0].endswith(", 2030-01-01; kernel 7.3.4+deb13-amd64, 8.0; TCG")
    assert found[1] == "| QEMU's main loop, a raw file | 12.0.0 | scsi | yes | yes |" + " no [1] |" * 6
    assert "\n1. too small\n" in new
    # And old again, with the numbers that the reasons have now.
    (tmp_path / "hosts-file-scsi.json").unlink()
    assert hosts_table.table(new) == new
