# SPDX-License-Identifier: GPL-2.0
"""What is measured: the I/O patterns and the drivers. Read by the host and by the guest."""

import dataclasses

# Large enough that no job wraps soon, and free: neither null-co nor null_blk stores anything.
DISK_GIB = 64


@dataclasses.dataclass(frozen=True)
class Job:
    name: str
    title: str
    rw: str  # fio's word
    block: int  # KiB
    depth: int
    batch: int = 1  # how many I/Os go into one system call
    latency: int = 0  # of the disk, in microseconds; of those that work beside the guest
    engine: str = "io_uring"
    options: tuple[str, ...] = ()  # more of fio's

    def fio(self, device: str) -> list[str]:
        """The options that all kinds of runs share."""
        return [
            f"--name={self.name}",
            f"--filename={device}",
            f"--rw={self.rw}",
            f"--bs={self.block}k",
            f"--iodepth={self.depth}",
            f"--iodepth_batch_submit={self.batch}",
            f"--iodepth_batch_complete_max={max(self.batch, 1)}",
            f"--ioengine={self.engine}",
            "--direct=1",
            "--randseed=7",
            "--norandommap",
            f"--size={DISK_GIB}g",
            *self.options,
        ]

    @property
    def direction(self) -> str:
        return "read" if self.rw.endswith("read") else "write"


_ALL = [
    Job("randread-4k-qd32", "4 KiB random read, QD 32", "randread", 4, 32),
    Job("randwrite-4k-qd32", "4 KiB random write, QD 32", "randwrite", 4, 32),
    Job("read-4k-qd32", "4 KiB sequential read, QD 32", "read", 4, 32),
    Job("write-4k-qd32", "4 KiB sequential write, QD 32", "write", 4, 32),
    Job("read-128k-qd32", "128 KiB sequential read, QD 32", "read", 128, 32),
    Job("write-128k-qd32", "128 KiB sequential write, QD 32", "write", 128, 32),
    Job("randread-4k-qd1", "4 KiB random read, QD 1", "randread", 4, 1),
    Job("randwrite-4k-qd1", "4 KiB random write, QD 1", "randwrite", 4, 1),
    Job("read-128k-qd1", "128 KiB sequential read, QD 1", "read", 128, 1),
    Job("randread-4k-qd32-b16", "4 KiB random read, QD 32, 16 a call", "randread", 4, 32, 16),
    Job("read-4k-qd32-b16", "4 KiB sequential read, QD 32, 16 a call", "read", 4, 32, 16),
    Job("fua-4k-qd1", "4 KiB random write with FUA, QD 1", "randwrite", 4, 1, options=("--sync=dsync",)),
    Job("fua-4k-qd32", "4 KiB random write with FUA, QD 32", "randwrite", 4, 32, options=("--sync=dsync",)),
    Job("fsync-4k", "4 KiB random write and fsync", "randwrite", 4, 1, engine="psync", options=("--fsync=1",)),
]
JOBS = {job.name: job for job in _ALL}

# How long the disks take whose exits are counted, in microseconds: vda and sda, vdb and sdb, and so on.
LATENCIES = (200, 50, 1000)
_EXITS = [
    *(Job(f"exits-qd32-{us}us", f"QD 32, {us} µs", "randread", 4, 32, latency=us) for us in LATENCIES),
    Job("exits-qd1-200us", "QD 1, 200 µs", "randread", 4, 1, latency=200),
]
EXITS = {job.name: job for job in _EXITS}

# By the clock they say nothing: most of their time is the flush's, of which the disk has none.
SYNCED = ("fua-4k-qd1", "fua-4k-qd32", "fsync-4k")

# Beside the first of the slow disks: how many flushes it gets for the fsyncs of many.
FLUSHES = Job(
    "fsyncs-8", "8 threads that write 4 KiB and fsync, 200 µs", "randwrite", 4, 1, latency=200, engine="psync",
    options=("--fsync=1", "--numjobs=8", "--thread", "--group_reporting"),
)  # fmt: skip

# The disks of each kind whose memory is measured.
MANY = 20

# What is counted with the queue's lock held: two CPUs, a thread on each, and one queue.
HELD_JOBS = ("randread-4k-qd32", "randread-4k-qd32-b16", "randwrite-4k-qd32")

# What a path is measured by, on each medium.
PATH_JOBS = ("randread-4k-qd1", "randread-4k-qd32", "read-128k-qd1", "read-128k-qd32")


@dataclasses.dataclass(frozen=True)
class Medium:
    """A disk that takes its time, as use_bio=auto finds it."""

    title: str
    latency: int = 0  # microseconds
    queues: int = 2
    iops: int = 0  # what the host lets through, if not all
    options: str = ""  # of the device

    def qemu(self, number: int) -> list[str]:
        """The disk with this number."""
        node = f"medium{number}"
        disk = ["-blockdev", f"driver=null-co,size={DISK_GIB << 30},read-zeroes=on,latency-ns={self.latency * 1000},node-name={node}"]
        if self.iops:
            disk += ["-object", f"throttle-group,id=limit{number},x-iops-total={self.iops}"]
            disk += ["-blockdev", f"driver=throttle,throttle-group=limit{number},file={node},node-name={node}-slow"]
            node += "-slow"
        options = f",{self.options}" if self.options else ""
        return [*disk, "-device", f"virtio-blk-pci,drive={node},num-queues={self.queues},iothread=io0,serial=medium{number}{options}"]


MEDIA = [
    Medium("10 µs, 1 queue", 10, 1),
    Medium("10 µs", 10),
    Medium("50 µs, 1 queue", 50, 1),
    Medium("50 µs", 50),
    Medium("200 µs, 1 queue", 200, 1),
    Medium("200 µs", 200),
    Medium("200 µs, write-through", 200, options="write-cache=off"),
    Medium("1 ms, 1 queue", 1000, 1),
    Medium("1 ms", 1000),
    Medium("10 ms, 1 queue", 10_000, 1),
    Medium("10 ms", 10_000),
    Medium("limited to 200 I/Os a second", 0, iops=200),
]


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    title: str
    module: str  # the driver that it loads: `c`, `rs` or `null`
    use_bio: str = "0"
    scheduler: str = ""  # empty: the kernel's choice
    scsi: bool = False  # the disk behind the SCSI host, not the other one

    @property
    def driver(self) -> str:
        """The name of the module."""
        return "null_blk" if self.module == "null" else "virtio_scsi" if self.scsi else "virtio_blk"

    @property
    def device(self) -> str:
        return {"null_blk": "nullb0", "virtio_blk": "vda", "virtio_scsi": "sda"}[self.driver]

    def device_of(self, job: Job) -> str:
        """The disk that is as slow as the job wants it."""
        number = LATENCIES.index(job.latency) if job.latency else 0
        return f"{self.device[:-1]}{chr(ord('a') + number)}" if number else self.device

    @property
    def io_path(self) -> str | None:
        """What the disk's io_path must say, if it has one."""
        if self.module != "rs" or self.scsi:
            return None
        return {"0": "request", "1": "bio", "auto": "auto"}[self.use_bio]


VARIANTS = {
    variant.name: variant
    for variant in [
        Variant("null", "null_blk", "null"),
        Variant("c", "C", "c"),
        Variant("request", "request", "rs"),
        Variant("bio", "bio", "rs", use_bio="1"),
        Variant("auto", "auto", "rs", use_bio="auto"),
        Variant("null-none", "null_blk, no scheduler", "null", scheduler="none"),
        Variant("c-none", "C, no scheduler", "c", scheduler="none"),
        Variant("request-none", "request, no scheduler", "rs", scheduler="none"),
        Variant("c-scsi", "C scsi", "c", scsi=True),
        Variant("scsi", "scsi", "rs", scsi=True),
        Variant("c-scsi-none", "C scsi, no scheduler", "c", scheduler="none", scsi=True),
        Variant("scsi-none", "scsi, no scheduler", "rs", scheduler="none", scsi=True),
    ]
}
