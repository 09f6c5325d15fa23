# SPDX-License-Identifier: GPL-2.0
"""What the kernel log may say, and what fails a test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "guest"))

from logcheck import problems  # noqa: E402

RULER = "=" * 66


def lockdep(lock: str, amid: str = "") -> list[str]:
    """A report of lockdep: that `lock` is taken with interrupts on."""
    return f"""{RULER}
[    1.0] WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected
[    1.0] but this new dependency connects a HARDIRQ-irq-safe lock:
[    1.0]  (queue.rs:196){{-.-.}}-{{3:3}}
[    1.0] ... which became HARDIRQ-irq-safe at:
[    1.0]   lock_acquire+0xe7/0x200
[    1.0] to a HARDIRQ-irq-unsafe lock:
[    1.0]  ({lock}){{+.+.}}-{{3:3}}
[    1.0]
[    1.0] ... which became HARDIRQ-irq-unsafe at:
[    1.0] ...
[    1.0]   lock_acquire+0xe7/0x200
[    1.0]   vduse_domain_alloc_coherent+0xd7/0x200
{amid}
[    1.0]   lock(&domain->iotlb_lock);
[    1.0] Call Trace:
[    1.0]  <TASK>
[    1.0]  ? lockdep_init_map_type+0x100/0x2e0
[    1.0]  </TASK>
[    2.0] all goes on""".splitlines()


def race(function: str) -> list[str]:
    """A report of KCSAN."""
    return f"""[    1.0] {RULER}
[    1.0] BUG: KCSAN: data-race in {function} / {function}
[    1.0] read to 0xffff888004210a10 of 4 bytes by task 80 on cpu 1:
[    1.0]  {function}+0x24/0x100
[    1.0] Call Trace:
[    1.0] {RULER}""".splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
        "[    1.0] WARNING: CPU: 0 PID: 1 at block/blk-mq.c:1 f+0x1/0x2",
        "[    1.0] INFO: task fio:80 blocked for more than 120 seconds.",
        "[    1.0] kernel BUG at drivers/scsi/scsi_scan.c:599!",
        "[    1.0] WARNING: possible circular locking dependency detected",
    ],
)
def test_trouble_is_seen_unless_expected(line: str) -> None:
    assert problems([line], []) == [line]
    assert problems([line], ["task fio|KASAN|blk-mq.c|scsi_scan|circular"]) == []


def test_what_lockdep_says_of_vduse_is_left_out() -> None:
    assert problems(lockdep("&domain->iotlb_lock"), []) == []


def test_what_others_say_amid_it_is_not() -> None:
    line = "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2"
    assert problems(lockdep("&domain->iotlb_lock", line), []) == [line]


def test_what_lockdep_says_of_another_lock_is_not() -> None:
    assert problems(lockdep("&q->queue_lock"), [])


def test_a_report_without_an_end_is_not() -> None:
    assert problems(lockdep("&domain->iotlb_lock")[:12], [])


def test_races_are_ours_if_a_function_of_ours_is_in_them() -> None:
    assert problems(race("pid_update_inode"), []) == []
    assert problems(race("virtqueue_add_split"), [])
    assert problems(race("_RNvMs_NtNtCs_7storage6virtio4ring"), [])
