// SPDX-License-Identifier: GPL-2.0

//! A life of virtio_blk with a device that lies: probe, I/O, removal.

use crate::{
    block::{
        self,
        disk,
        layer, //
    },
    mem::memory,
    run::{
        features,
        goes_on,
        live,
        tell_change,
        Life, //
    },
    virtio::{
        self,
        device,
        Kind, //
    },
    world::{
        below,
        byte,
        run_all,
        spawn,
        word, //
    },
};
use kernel::bindings as b;
use storage::bindings as v;

static BLK: Kind = Kind {
    added: block::added,
    answer: block::answer,
    lie: block::lie,
    popped: block::popped,
    wrote: block::wrote,
    detached: block::detached,
    found: block::found,
    standing: None,
};

/// `VIRTIO_BLK_F_LIFETIME`, which the headers of the kernel do not have.
const LIFETIME: u32 = 15;

/// What a plain disk says of itself.
fn honest() -> [u8; 256] {
    let mut config = [0; 256];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);

    put(0, &8192u64.to_le_bytes());
    put(8, &65536u32.to_le_bytes());
    put(12, &8u32.to_le_bytes());
    put(16, &[16, 0, 4, 63]);
    put(20, &512u32.to_le_bytes());
    put(24, &[3, 0, 8, 0]);
    put(28, &64u32.to_le_bytes());
    put(32, &[1, 0, 2, 0]);
    put(36, &2048u32.to_le_bytes());
    put(40, &4u32.to_le_bytes());
    put(44, &8u32.to_le_bytes());
    put(48, &2048u32.to_le_bytes());
    put(52, &1u32.to_le_bytes());
    put(56, &[1, 0, 0, 0]);
    put(60, &2048u32.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(68, &8u32.to_le_bytes());
    put(72, &256u32.to_le_bytes());
    put(76, &4u32.to_le_bytes());
    put(80, &8u32.to_le_bytes());
    put(84, &128u32.to_le_bytes());
    put(88, &4096u32.to_le_bytes());
    put(92, &[1, 0, 0, 0]);
    config
}

pub fn run(bio_mode: bool, more: u64) {
    let flags = word();
    let features = features(
        flags,
        1 << v::VIRTIO_RING_F_INDIRECT_DESC | 1 << v::VIRTIO_F_VERSION_1,
        &[
            v::VIRTIO_RING_F_INDIRECT_DESC,
            v::VIRTIO_F_VERSION_1,
            v::VIRTIO_BLK_F_SIZE_MAX,
            v::VIRTIO_BLK_F_SEG_MAX,
            v::VIRTIO_BLK_F_GEOMETRY,
            v::VIRTIO_BLK_F_RO,
            v::VIRTIO_BLK_F_BLK_SIZE,
            v::VIRTIO_BLK_F_FLUSH,
            v::VIRTIO_BLK_F_TOPOLOGY,
            v::VIRTIO_BLK_F_CONFIG_WCE,
            v::VIRTIO_BLK_F_MQ,
            v::VIRTIO_BLK_F_DISCARD,
            v::VIRTIO_BLK_F_WRITE_ZEROES,
            v::VIRTIO_BLK_F_SECURE_ERASE,
            v::VIRTIO_BLK_F_ZONED,
            LIFETIME,
        ],
    );

    virtio::plug(
        v::VIRTIO_ID_BLOCK,
        features,
        size_of::<v::virtio_blk_config>(),
        &BLK,
    );
    let device = device();
    device.config = honest();
    device.shifty = flags >> 16 & 3 == 3;
    device.racing = flags >> 18 & 1 == 1;
    device.ring_size = [16, 1, 2, 3, 4, 8, 64, 128][flags as usize >> 20 & 7];
    device.max_dma = if flags >> 23 & 1 == 1 {
        4096
    } else {
        usize::MAX
    };
    device.no_queues = flags >> 24 & 15 == 15;
    memory().fail_at = if flags >> 28 & 3 == 3 {
        1 + u32::from(byte())
    } else {
        0
    };
    for _ in 0..flags >> 30 & 7 {
        let at = below(96);
        device.config[at] = byte();
    }
    layer().strict = features & 1 << v::VIRTIO_F_VERSION_1 != 0;
    layer().remote = flags >> 33 & 1 == 1;
    crate::params::set(
        "virtio_blk.use_bio",
        match (flags >> 49 & 3, bio_mode) {
            (3, _) => "auto",
            (_, true) => "1",
            (_, false) => "0",
        },
    );
    crate::params::set(
        "virtio_blk.disks",
        ["", "", "abc=bio", "abc=auto"][flags as usize >> 51 & 3],
    );
    crate::params::set(
        "virtio_blk.auto_latency",
        ["3000", "0"][flags as usize >> 53 & 1],
    );
    crate::params::set(
        "virtio_blk.poll_queues",
        if flags >> 34 & 3 == 3 { "1" } else { "0" },
    );
    crate::params::set(
        "virtio_blk.queue_depth",
        ["0", "1", "4", "1000"][flags as usize >> 36 & 3],
    );

    device.stubborn = flags >> 38 & 7 == 7;
    device.deaf = flags >> 41 & 3 == 3;
    device.vectors = (flags >> 60 & 1 == 1).then_some(0);
    if flags >> 62 & 1 == 1 {
        device.be_behind(more >> 44 & 7);
    }
    crate::params::set(
        "virtio_blk.timeouts",
        ["0", "0", "0", "1"][flags as usize >> 43 & 3],
    );
    crate::params::set(
        "virtio_blk.repairs",
        ["10", "0", "1", "10"][flags as usize >> 45 & 3],
    );

    set_up(more);
    live(
        &Life {
            turn,
            rests: block::rests,
            step,
            meanwhile,
            has_ended,
            rescue: crate::files::reset,
            leave: block::close_all,
            end: block::end,
        },
        flags >> 47,
    );
}

/// The second word of settings.
fn set_up(more: u64) {
    let pick = |at: u32, values: &[&'static str]| values[(more >> at) as usize % values.len()];
    let device = device();
    let name = device.name.to_str().unwrap();

    virtio::set_up(more);
    layer().merges = more >> 8 & 1 == 1;
    layer().forgets = more >> 9 & 3 == 3;
    device.crooked = (more >> 12 & 31) as u8;
    for (name, at, values) in [
        ("num_request_queues", 20, ["0", "1", "2", "0"]),
        ("max_vectors", 22, ["0", "2", "3", "6"]),
        ("auto_time", 24, ["200", "0", "1", "10000"]),
        ("auto_reads", 26, ["4", "1", "0", "40"]),
    ] {
        crate::params::set(&format!("virtio_blk.{name}"), pick(at, &values));
    }
    // Some name the device by its place on the bus.
    let disks = match more >> 28 & 15 {
        1 => format!("{name}=bio"),
        2 => format!("{name}=auto,{name}=request"),
        3 => format!("x=bio,{name}=auto"),
        4 => "abc=bio,=request,abc".to_string(),
        5 => "abc=x,,abc=auto,".to_string(),
        6 => "abc=bio,".repeat(200),
        _ => return,
    };
    crate::params::set("virtio_blk.disks", &disks);
}

/// Whether all I/O has. Who polls goes on with that.
fn has_ended() -> bool {
    block::poll_bios();
    block::all_ended()
}

/// What goes on by itself meanwhile.
fn turn() {
    goes_on(block::softirq, block::rerun);
    for ring in &device().rings {
        // SAFETY: The ring lives.
        assert!(
            unsafe { !(**ring).is_untold() },
            "the device is not told of something"
        );
    }
}

/// One thing that users do, or the device.
fn step() {
    match byte() % 16 {
        0 | 1 | 2 => submit(1),
        3 if layer().merges => submit(1 + below(40)),
        3 => submit(1 + below(8)),
        10 => {
            let at = below(96);
            device().config[at] = byte();
            tell_change();
        }
        14 => match byte() % 8 {
            0..4 => poll(),
            4 => disk().into_iter().for_each(|disk| disk.geometry()),
            5 => block::close(),
            7 if disk().is_some_and(|disk| disk.limits().chunk_sectors > 0) => block::report(),
            _ => block::open(),
        },
        15 => crate::files::open(),
        n => crate::run::step(n, turn),
    }
    turn();
}

/// One thing that users do while the driver is busy with the device.
fn meanwhile() {
    match byte() % 8 {
        0..3 => submit(1),
        3 => block::open(),
        4 => block::close(),
        5 => poll(),
        _ => crate::files::open(),
    }
}

/// Users submit `n` I/Os in a row.
fn submit(n: usize) {
    let Some(disk) = disk() else { return };
    let mut bios = Vec::new();
    let shape = byte();
    let merges = layer().merges;
    // Of the last bio: its operation, and the sector behind it.
    let mut last_one = (0, 0);

    if block::count() + n > 400 || !disk.may_open() {
        return;
    }
    for _ in 0..n {
        let limits = disk.limits();
        let zone = u64::from(limits.chunk_sectors);
        let kind = byte();
        let mut op = [0, 1, 0, 1, 1, 1, 3, 9, 5, 7, 17, 11, 13, 15, 19, 2][kind as usize & 15];
        let flush = limits.features & storage::bindings::BLK_FEAT_WRITE_CACHE != 0;
        let mut flags = 0;

        // What the block layer would not let through.
        op = match op {
            3 if limits.max_hw_discard_sectors == 0 => 0,
            5 if limits.max_secure_erase_sectors == 0 => 0,
            9 if limits.max_write_zeroes_sectors == 0 => 1,
            7 | 11.. if zone == 0 => 0,
            2 if !disk.is_mq() || !flush => 1,
            op => op,
        };
        // In request mode flushes are requests of their own.
        if flush && !disk.is_mq() && op & 1 == 1 {
            flags |= u32::from(kind >> 4 & 1) << b::req_flag_bits___REQ_PREFLUSH;
            flags |= u32::from(kind >> 5 & 1) << b::req_flag_bits___REQ_FUA;
        }
        flags |= u32::from(kind >> 6 == 3) << b::req_flag_bits___REQ_NOWAIT;
        let polls = kind >> 6 == 1 && limits.features & storage::bindings::BLK_FEAT_POLL != 0;
        flags |= u32::from(polls && op <= 1 && !disk.is_mq()) << b::req_flag_bits___REQ_POLLED;
        if op == 9 {
            flags |= u32::from(shape & 1) << b::req_flag_bits___REQ_NOUNMAP;
        }
        // None that the block layer of today has for such a disk.
        if merges && kind == 0xaf {
            op = b::req_op_REQ_OP_DRV_OUT;
        }
        let mut segments: Vec<usize> = match op {
            2 | 11.. => Vec::new(),
            1 if flags & 1 << b::req_flag_bits___REQ_PREFLUSH != 0 && shape & 2 != 0 => Vec::new(),
            1 if merges && flags & 1 << b::req_flag_bits___REQ_FUA != 0 && shape & 2 != 0 => {
                Vec::new()
            }
            7 => vec![512.max(limits.logical_block_size as usize).min(4096)],
            _ => {
                let n = (1 + below(4)).min(limits.max_segments.into());
                (0..n)
                    .map(|_| 512 << below(if merges { 6 } else { 4 }))
                    .collect()
            }
        };
        // Cut to what the disk takes, as the block layer has done it.
        let pieces = |all: &[usize]| -> usize {
            let most = limits.max_segment_size as usize;
            all.iter().map(|len| len.div_ceil(most)).sum()
        };
        while pieces(&segments) > limits.max_segments.into() {
            if segments.len() > 1 {
                segments.pop();
            } else {
                segments[0] = 4096;
            }
        }
        let sector = u64::from(byte()) % disk.capacity().max(1);
        // Where the last one ended.
        let sector = match last_one {
            (before, end) if merges && op <= 1 && before == op && sector % 4 != 0 => end,
            _ => sector,
        };
        let sector = if zone > 0 && matches!(op, 7 | 11..) {
            sector & !(zone - 1)
        } else {
            sector
        };
        last_one = (op, sector + (segments.iter().sum::<usize>() >> 9) as u64);
        // Some of it was done already.
        let begun = merges && op <= 1 && shape & 3 == 3 && !segments.is_empty();
        bios.push(block::make_bio(disk, op, flags, sector, &segments, begun));
    }

    if disk.is_mq() {
        let mut requests = Vec::new();
        for bios in block::merge(disk, bios) {
            match disk.request(usize::from(shape >> 4), bios[0]) {
                Some(rq) => requests.push(rq),
                None => bios.into_iter().for_each(block::give_up),
            }
        }
        let last = shape & 4 == 0;
        if shape & 8 != 0 && requests.len() > 1 {
            disk.queue_list(&requests);
        } else {
            for rq in requests {
                disk.queue(rq, last);
            }
            if !last {
                disk.commit(usize::from(shape >> 4));
            }
        }
    } else {
        spawn("who submits bios", move || {
            let submit = || {
                for bio in bios {
                    match block::disk() {
                        Some(disk) => disk.submit(bio),
                        None => block::give_up(bio),
                    }
                }
            };
            if n > 1 {
                block::plugged(submit);
            } else {
                submit();
            }
        });
        run_all();
    }
}

/// Somebody polls.
fn poll() {
    let Some(disk) = disk() else { return };

    if disk.is_mq() {
        disk.poll(usize::from(byte()));
    } else {
        block::poll_bios();
        if layer().merges {
            block::poll_stale(disk);
        }
    }
}
