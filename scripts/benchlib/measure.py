#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's side: loads each driver in turn, runs fio on it and prints one JSON line a result.

BENCH_PLAN holds what to do: {"kind": "icount", "profile", "wall", "exits", "held", "memory" or "paths", "jobs": [...], "variants": [...], ...}.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs import DISK_GIB, EXITS, FLUSHES, JOBS, MEDIA, VARIANTS, Variant  # noqa: E402

# Our modules: file and build ID.
MODULES: dict[str, dict[str, str]] = json.loads(os.environ["BENCH_MODULES"])


def fail(why: str) -> None:
    print(f"bench: {why}", file=sys.stderr)
    sys.exit(1)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def build_id(module: str) -> str:
    note = Path(f"/sys/module/{module}/notes/.note.gnu.build-id").read_bytes()
    return note[16:].hex()


def load(variant: Variant) -> None:
    """Load the driver and prove that it is the one which serves the disk."""
    if variant.module == "null":
        run("modprobe", "null_blk", f"gb={DISK_GIB}", "queue_mode=2", "bs=512")
    else:
        if variant.scsi:
            # What insmod does not load by itself, and the driver of the disk.
            run("modprobe", "-a", "scsi_mod", "sd_mod")
        ours = MODULES[variant.driver]["file"]
        use_bio = [] if variant.scsi else [f"use_bio={variant.use_bio}"]
        run(*(["modprobe", variant.driver] if variant.module == "c" else ["insmod", ours, *use_bio]))
    sysfs = Path("/sys/block") / variant.device
    end = time.monotonic() + 60
    while not Path("/dev", variant.device).exists():
        if time.monotonic() > end:
            fail(f"no disk {variant.device} 60 s after {variant.title} was loaded")
        time.sleep(0.05)
    path = sysfs / "io_path"
    io_path = path.read_text().strip() if path.exists() else None
    if io_path != variant.io_path and (variant.io_path != "auto" or io_path not in ("request", "bio")):
        fail(f"{variant.title}: the disk's io_path is {io_path}, not {variant.io_path}")
    is_ours = build_id(variant.driver) == MODULES.get(variant.driver, {}).get("build_id")
    if is_ours != (variant.module == "rs"):
        fail(f"{variant.title}: the {variant.driver} that was loaded is not the one that was wanted")
    if variant.scheduler:
        (sysfs / "queue/scheduler").write_text(variant.scheduler)


def unload(variant: Variant) -> None:
    run("rmmod", variant.driver)


def scheduler(variant: Variant) -> str:
    path = Path("/sys/block") / variant.device / "queue/scheduler"
    text = path.read_text() if path.exists() else "none"
    chosen = re.search(r"\[(.*?)\]", text)
    return chosen[1] if chosen else text.strip()


def interrupts() -> int:
    """Interrupts of the disk's queues so far."""
    total = 0
    for line in Path("/proc/interrupts").read_text().splitlines():
        # Not those of 9p, which are called "requests".
        if re.search(r"virtio\d+-(req\.\d+|request)$", line):
            total += sum(int(word) for word in line.split()[1:] if word.isdigit())
    return total


def fio(arguments: list[str]) -> list[dict[str, Any]]:
    jobs = json.loads(run("fio", "--output-format=json", *arguments))["jobs"]
    for job in jobs:
        if job["error"]:
            fail(f"fio: {job['jobname']} ended with error {job['error']}")
    return jobs


def icount(plan: dict[str, Any], variant: Variant) -> None:
    """Instructions per I/O: under -icount shift=0 a nanosecond of the guest is an instruction."""
    ios = plan["ios"]
    device = f"/dev/{variant.device}"
    for job in (JOBS[name] for name in plan["jobs"]):
        before = interrupts()
        result = fio([*job.fio(device), f"--io_size={ios * job.block}k"])[0][job.direction]
        irqs = interrupts() - before
        if result["total_ios"] != ios:
            fail(f"fio: {result['total_ios']} I/Os done, {ios} wanted")
        report(
            variant,
            job=job.name,
            instructions=result["runtime"] * 1_000_000 / ios,
            interrupts=irqs / ios,
        )


def profile(plan: dict[str, Any], variant: Variant) -> None:
    """A short run and one that is longer by the number of I/Os, marked for the host."""
    job, ios = JOBS[plan["jobs"][0]], plan["ios"]
    print(f"{variant.title} is loaded; the plugin makes this slow", flush=True)
    Path("/run/vsr/kallsyms").write_text(Path("/proc/kallsyms").read_text())
    job_on = job.fio(f"/dev/{variant.device}")
    fio([*job_on, f"--io_size={ios * job.block}k"])
    for count in (0, ios // 5, ios // 5 + ios):
        if count:
            fio([*job_on, f"--io_size={count * job.block}k"])
        run("bash", "-c", '. "$VSR_GUEST_LIB"; host mark')


def wall(plan: dict[str, Any], variant: Variant) -> None:
    """One sample of each job, in one fio."""
    arguments = []
    for name in plan["jobs"]:
        arguments += JOBS[name].fio(f"/dev/{variant.device}")
        arguments += ["--time_based", f"--runtime={plan['milliseconds']}ms", "--stonewall"]
        arguments += [f"--ramp_time={plan['milliseconds'] // 4}ms"]
    for result in fio(arguments):
        job = JOBS[result["jobname"]]
        iops = result[job.direction]["iops"]
        if not iops:
            fail(f"{variant.title}: {job.title}: no I/O in {plan['milliseconds']} ms; this machine is too busy")
        report(variant, job=job.name, iops=iops)


TRACING = Path("/sys/kernel/tracing")


def kicks() -> int:
    """Notifications of the disks' queues so far. Not those of 9p, of which a start of fio alone makes about 190."""
    if not (TRACING / "kprobe_events").exists():
        run("mount", "-t", "tracefs", "none", str(TRACING))
    event = TRACING / "events/bench/kick"
    if not event.exists():
        # The queue's name stands behind two pointers of a list and one to a function. 9p's are "requests".
        (TRACING / "kprobe_events").write_text("p:bench/kick vp_notify queue=+0(+24(%di)):string\n")
        (event / "trigger").write_text("hist:keys=queue")
    counted = re.findall(r"{ queue: (req\.\d+|request) *} hitcount: +(\d+)", (event / "hist").read_text())
    return sum(int(hits) for _, hits in counted)


def flushes(variant: Variant, ios: int) -> None:
    """Flushes that a disk gets, an fsync."""
    device = variant.device_of(FLUSHES)
    stat = Path("/sys/block", device, "stat")
    before = int(stat.read_text().split()[15])
    result = fio([*FLUSHES.fio(f"/dev/{device}"), f"--io_size={ios * FLUSHES.block}k"])[0]
    done = int(stat.read_text().split()[15]) - before
    report(variant, job=FLUSHES.name, flushes=done / result["sync"]["total_ios"], fsyncs=result["sync"]["total_ios"])


def exits(plan: dict[str, Any], variant: Variant) -> None:
    """Interrupts and kicks an I/O beside a device that takes its time, and what an I/O takes then."""
    ios = plan["ios"]
    for job in (EXITS[name] for name in plan["jobs"]):
        count = max(ios * job.depth // 32, ios // 8)
        before = interrupts(), kicks()
        result = fio([*job.fio(f"/dev/{variant.device_of(job)}"), f"--io_size={count * job.block}k"])[0][job.direction]
        after = interrupts(), kicks()
        latency, done = result["clat_ns"], result["total_ios"]
        report(
            variant,
            job=job.name,
            interrupts=(after[0] - before[0]) / done,
            kicks=(after[1] - before[1]) / done,
            mean=latency["mean"] / 1000,
            p99=latency["percentile"]["99.000000"] / 1000,
        )
    flushes(variant, max(ios // 16, 50))


def ask_host(*words: str) -> str:
    return run("bash", "-c", f'. "$VSR_GUEST_LIB"; host {" ".join(words)}')


def held(plan: dict[str, Any], variant: Variant) -> None:
    """Instructions with the queue's lock held: two CPUs, a thread of fio on each, and one queue."""
    print(f"{variant.title} is loaded; the plugin makes this slow", flush=True)
    Path("/run/vsr/kallsyms").write_text(Path("/proc/kallsyms").read_text())
    ask_host("held-in", variant.driver)
    both = ["--numjobs=2", "--thread", "--group_reporting", "--cpus_allowed=0,1", "--cpus_allowed_policy=split"]
    for job in (JOBS[name] for name in plan["jobs"]):
        rows = []
        # A short run, and one that is longer by the number of I/Os: fio's start cancels out.
        for count in (plan["ios"] // 5, plan["ios"] // 5 + plan["ios"]):
            before = [int(word) for word in ask_host("held").split()]
            result = fio([*job.fio(f"/dev/{variant.device}"), *both, f"--io_size={count // 2 * job.block}k"])[0]
            after = [int(word) for word in ask_host("held").split()]
            rows.append([*(a - b for a, b in zip(after, before)), result[job.direction]["total_ios"]])
        in_lock, sections, ios = (long - short for long, short in zip(rows[1], rows[0]))
        report(variant, job=job.name, held=in_lock / ios, sections=sections / ios)


def taken() -> int:
    """Memory that could not be had back, in KiB: all but what is free, in the page cache, reclaimable or programs'."""
    run("sync")
    Path("/proc/sys/vm/drop_caches").write_text("3")
    # On lists of CPUs, which count as in use.
    lists = sum(int(count) for count in re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(), re.MULTILINE))
    info = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)}
    back = ("MemFree", "Buffers", "Cached", "SReclaimable", "AnonPages", "PageTables", "KernelStack")
    return info["MemTotal"] - sum(info[name] for name in back) - lists * 4


def size_of_request() -> int:
    """struct request, which stands before what a driver asks for."""
    found = re.search(r"/\* size: (\d+),", run("pahole", "-C", "request", "/sys/kernel/btf/vmlinux"))
    if not found:
        fail("pahole does not know struct request")
        raise AssertionError
    return int(found[1])


def memory(plan: dict[str, Any], variant: Variant) -> None:
    """What the disks take, and a command of each. The driver is not loaded yet."""
    if not (TRACING / "kprobe_events").exists():
        run("mount", "-t", "tracefs", "none", str(TRACING))
    tags, kmalloc = TRACING / "events/bench/tags", TRACING / "events/kmem/kmalloc"
    (TRACING / "kprobe_events").write_text("p:bench/tags blk_mq_alloc_tag_set size=set->cmd_size\n")
    (tags / "trigger").write_text("hist:keys=size")
    (kmalloc / "trigger").write_text('hist:keys=bytes_req,bytes_alloc if comm == "insmod"')
    if variant.scsi:
        run("modprobe", "-a", "scsi_mod", "sd_mod")
    before = taken()
    load(variant)
    time.sleep(3)
    after = taken()
    if variant.io_path == "bio":
        # Each queue has a command for each element of its ring, and no other kmalloc() comes so often.
        found = re.findall(r"{ bytes_req: +(\d+), bytes_alloc: +(\d+) } hitcount: +(\d+)", (kmalloc / "hist").read_text())
        command = max(int(size) for _, size, hits in found if int(hits) >= plan["disks"] * 2 * 128)
    else:
        size = max(int(size) for size in re.findall(r"{ size: +(\d+) }", (tags / "hist").read_text()))
        # blk-mq begins each in a cache line.
        command = -(-(size_of_request() + size) // 64) * 64
    for event, name in ((tags, "keys=size"), (kmalloc, "keys=bytes_req,bytes_alloc")):
        (event / "trigger").write_text(f"!hist:{name}")
    (TRACING / "kprobe_events").write_text("")
    report(variant, disk=(after - before) / plan["disks"], command=command)


def medium_disk(number: int) -> Path:
    """Its folder in sysfs."""
    for serial in Path("/sys/block").glob("vd*/serial"):
        if serial.read_text().strip() == f"medium{number}":
            return serial.parent
    fail(f"no disk medium{number}")
    raise AssertionError


def paths(plan: dict[str, Any], variant: Variant) -> None:
    """I/Os per second on each medium; or what auto makes of it."""
    for number in range(len(MEDIA)):
        disk = medium_disk(number)
        if variant.use_bio == "auto":
            report(variant, medium=number, path=(disk / "io_path").read_text().strip(), why=(disk / "io_path_reason").read_text().strip())
            continue
        arguments = []
        for name in plan["jobs"]:
            arguments += [*JOBS[name].fio(f"/dev/{disk.name}"), "--time_based", f"--runtime={plan['milliseconds']}ms", "--stonewall"]
        for result in fio(arguments):
            job = JOBS[result["jobname"]]
            # Of a limited one fewer may come than fit a sample.
            report(variant, medium=number, job=job.name, iops=max(result[job.direction]["iops"], 0.1))


def report(variant: Variant, **values: Any) -> None:
    values |= {"variant": variant.name, "scheduler": scheduler(variant)}
    print("RESULT " + json.dumps(values), flush=True)


def main() -> None:
    plan = json.loads(os.environ["BENCH_PLAN"])
    measure = {"icount": icount, "profile": profile, "wall": wall, "exits": exits, "held": held, "memory": memory, "paths": paths}[plan["kind"]]
    # The first start of fio reads it from the host.
    run("fio", "--version")
    for turn in range(plan.get("turns", 1)):
        # Each turn in another order: what drifts with time hits all alike.
        names = plan["variants"]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            variant = VARIANTS[name]
            if plan["kind"] != "memory":
                load(variant)
            measure(plan, variant)
            unload(variant)


if __name__ == "__main__":
    main()
