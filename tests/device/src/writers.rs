// SPDX-License-Identifier: GPL-2.0

//! The other side of `lies.rs`: I/O that knows what may be on a disk whose device lies. It may fail,
//! but what ends well is right, and all of it ends.
//!
//! Eight writers have sectors of their own. They go on until the file FLAG.stop is there; once
//! FLAG.truth is, all that was written is looked at once more.

use crate::lies::Random;
use std::{
    fs::{
        File,
        OpenOptions, //
    },
    io,
    os::unix::fs::{
        FileExt,
        OpenOptionsExt, //
    },
    path::Path,
    sync::{
        atomic::{
            AtomicBool,
            AtomicU64,
            Ordering::Relaxed, //
        },
        Arc,
        Mutex, //
    },
    thread::JoinHandle,
    time::{
        Duration,
        Instant, //
    },
};

const WRITERS: u64 = 8;
/// Sectors of each.
const BLOCKS: usize = 96;
const SECTOR: usize = 512;
/// The most in one I/O.
const MOST: usize = 32;
/// How often to look.
const TICK: Duration = Duration::from_millis(50);
/// A writer that had so many errors in a row gets nowhere.
const IN_VAIN: u64 = 20;

/// What to do.
pub struct Task {
    disk: String,
    seed: u64,
    /// How long an operator waits before the device is reset.
    patience: Duration,
    /// How long an I/O may take.
    end: Duration,
    flag: String,
    /// The file, and what to write to it, by which an operator resets the device.
    reset: Option<(String, String)>,
}

impl Task {
    /// `DISK SEED PATIENCE END FLAG [RESET WORD]`, times in seconds.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let [disk, seed, patience, end, flag, reset @ ..] = words else {
            return Err("writers takes a disk, a seed, two times, and a flag".into());
        };
        let seconds =
            |text: &str| crate::faults::parse_number(text).map(|n| Duration::from_millis(n * 1000));

        Ok(Self {
            disk: (*disk).into(),
            seed: crate::faults::parse_number(seed)?,
            patience: seconds(patience)?,
            end: seconds(end)?,
            flag: (*flag).into(),
            reset: match reset {
                [] => None,
                [file, word] => Some(((*file).into(), (*word).into())),
                _ => return Err("a reset is a file and a word".into()),
            },
        })
    }

    fn is_up(&self, flag: &str) -> bool {
        Path::new(&format!("{}.{flag}", self.flag)).exists()
    }

    /// The operator's reset; whether it was one.
    fn reset(&self) -> bool {
        let reset = self.reset.as_ref();

        reset.is_some_and(|(file, word)| std::fs::write(file, word).is_ok())
    }
}

/// What is seen of a writer from outside, also while it waits.
struct View {
    begin: Instant,
    /// When its I/O began, in milliseconds; 0: there is none.
    since: AtomicU64,
    worst: AtomicU64,
    done: AtomicU64,
    errors: AtomicU64,
    in_a_row: AtomicU64,
    stop: AtomicBool,
    wrong: Mutex<Option<String>>,
}

impl View {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64 + 1
    }

    /// How long its I/O takes by now.
    fn waits(&self) -> Duration {
        match self.since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }

    fn wrong(&self) -> Option<String> {
        // Whoever panicked has been noticed.
        self.wrong.lock().ok()?.clone()
    }
}

/// Memory for direct I/O.
struct Buffer {
    bytes: Vec<u8>,
    begin: usize,
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; MOST * SECTOR + 4096];
        let begin = bytes.as_ptr().align_offset(4096);

        Self { bytes, begin }
    }

    fn of(&mut self, sectors: usize) -> &mut [u8] {
        &mut self.bytes[self.begin..][..sectors * SECTOR]
    }
}

struct Writer {
    number: u64,
    disk: File,
    random: Random,
    buffer: Buffer,
    /// Which contents each sector can have: their versions, of which 0 is zeroes.
    known: Vec<Vec<u64>>,
    version: u64,
    view: Arc<View>,
}

/// What a writer puts into one of its sectors.
fn content(number: u64, sector: usize, version: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];

    if version != 0 {
        for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&[number, sector as u64, version][at % 3].to_le_bytes());
        }
    }
    bytes
}

/// The version that a sector seems to be of.
fn version_of(bytes: &[u8]) -> u64 {
    crate::wire::number(&bytes[16..24])
}

impl Writer {
    fn new(task: &Task, number: u64) -> Result<Self, String> {
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&task.disk)
            .map_err(|e| format!("{}: {e}", task.disk))?;

        Ok(Self {
            number,
            disk,
            random: Random::new(task.seed.wrapping_mul(1000).wrapping_add(number)),
            buffer: Buffer::new(),
            known: vec![vec![0]; BLOCKS],
            version: 0,
            view: Arc::new(View {
                begin: Instant::now(),
                since: AtomicU64::new(0),
                worst: AtomicU64::new(0),
                done: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                in_a_row: AtomicU64::new(0),
                stop: AtomicBool::new(false),
                wrong: Mutex::new(None),
            }),
        })
    }

    /// Does I/O, whose time is taken.
    fn timed<R>(&mut self, io: impl FnOnce(&File, &mut Buffer) -> io::Result<R>) -> Option<R> {
        let view = &self.view;
        let begin = view.now();

        view.since.store(begin, Relaxed);
        let result = io(&self.disk, &mut self.buffer);
        view.since.store(0, Relaxed);
        view.worst.fetch_max(view.now() - begin, Relaxed);
        match result {
            Ok(done) => {
                view.in_a_row.store(0, Relaxed);
                Some(done)
            }
            Err(_) => {
                view.errors.fetch_add(1, Relaxed);
                view.in_a_row.fetch_add(1, Relaxed);
                None
            }
        }
    }

    fn io(&mut self, write: bool, first: usize, count: usize) -> Result<(), String> {
        let place = (self.number * BLOCKS as u64 + first as u64) * SECTOR as u64;

        if write {
            self.version += 1;
            for sector in first..first + count {
                let at = (sector - first) * SECTOR;
                self.buffer.of(count)[at..at + SECTOR].copy_from_slice(&content(
                    self.number,
                    sector,
                    self.version,
                ));
                self.known[sector].push(self.version);
            }
        }
        let moved = self.timed(|disk, buffer| match write {
            true => disk.write_at(buffer.of(count), place),
            false => disk.read_at(buffer.of(count), place),
        });
        self.view.done.fetch_add(1, Relaxed);
        for sector in first..first + moved.unwrap_or(0) / SECTOR {
            if !write {
                self.compare(sector, sector - first)?;
                continue;
            }
            self.known[sector] = vec![self.version];
        }
        Ok(())
    }

    /// What was read of a sector has to be what can be there, which is known better then.
    fn compare(&mut self, sector: usize, at: usize) -> Result<(), String> {
        let found = &self.buffer.of(MOST)[at * SECTOR..][..SECTOR];
        let version = version_of(found);
        let known = &mut self.known[sector];

        if !known.contains(&version) || found != content(self.number, sector, version) {
            return Err(format!(
                "writer {}: sector {sector} begins with {:02x?}, whose versions can be {known:?}",
                self.number,
                &found[..24],
            ));
        }
        *known = vec![version];
        Ok(())
    }

    fn work(&mut self) -> Result<(), String> {
        while !self.view.stop.load(Relaxed) {
            let count = 1 + self.random.below(MOST as u64 - 1) as usize;
            let first = self.random.below((BLOCKS - count) as u64) as usize;
            let write = self.random.below(10) < 6;

            self.io(write, first, count)?;
            if self.random.below(20) == 0 {
                self.timed(|disk, _| disk.sync_all());
            }
        }
        Ok(())
    }

    /// A last look, at a device that is honest.
    fn look(&mut self) -> Result<(), String> {
        let before = self.view.errors.load(Relaxed);

        for first in (0..BLOCKS).step_by(MOST) {
            self.io(false, first, MOST)?;
        }
        match self.view.errors.load(Relaxed) == before {
            true => Ok(()),
            false => Err(format!(
                "writer {}: an error of an honest device",
                self.number
            )),
        }
    }

    fn begin(mut self) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            if let Err(why) = self.work() {
                if let Ok(mut wrong) = self.view.wrong.lock() {
                    *wrong = Some(why);
                }
            }
            self
        })
    }
}

/// Watches the writers, and resets the device where nothing moves; how many resets that took.
fn watch(task: &Task, views: &[Arc<View>], writers: &[JoinHandle<Writer>]) -> Result<u64, String> {
    let (mut resets, mut last) = (0, Instant::now());

    while !writers.iter().all(JoinHandle::is_finished) {
        std::thread::sleep(TICK);
        if task.is_up("stop") {
            views.iter().for_each(|view| view.stop.store(true, Relaxed));
        }
        if let Some(why) = views.iter().find_map(|view| view.wrong()) {
            return Err(why);
        }
        let waits = views.iter().map(|view| view.waits()).max();
        let waits = waits.unwrap_or_default();
        let given_up = views
            .iter()
            .all(|view| view.in_a_row.load(Relaxed) > IN_VAIN);
        if (given_up || waits > task.patience) && last.elapsed() > task.patience {
            resets += u64::from(task.reset());
            last = Instant::now();
        }
        if waits > task.end {
            let stuck = views.iter().filter(|view| view.waits() > task.patience);
            return Err(format!(
                "I/O of {} of {WRITERS} writers does not end, after {resets} resets by the operator",
                stuck.count()
            ));
        }
    }
    Ok(resets)
}

pub fn run(words: &[&str]) -> Result<(), String> {
    let task = Task::parse(words)?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| Writer::new(&task, number))
        .collect::<Result<_, _>>()?;
    let views: Vec<_> = writers.iter().map(|writer| writer.view.clone()).collect();
    let threads: Vec<_> = writers.into_iter().map(Writer::begin).collect();
    let sum = |what: fn(&View) -> &AtomicU64| {
        let all = views.iter().map(|view| what(view).load(Relaxed));
        (all.clone().sum::<u64>(), all.max().unwrap_or(0))
    };
    let summary = |resets: &dyn std::fmt::Display| {
        format!(
            "seed {}: {} I/Os, {} errors, {resets} resets by the operator, the longest wait {:.1} s",
            task.seed,
            sum(|view| &view.done).0,
            sum(|view| &view.errors).0,
            sum(|view| &view.worst).1 as f64 / 1000.0,
        )
    };

    let resets =
        watch(&task, &views, &threads).map_err(|why| format!("{why}; {}", summary(&"?")))?;
    while !task.is_up("truth") {
        std::thread::sleep(TICK);
    }
    for thread in threads {
        let mut writer = thread.join().map_err(|_| "a writer panicked")?;

        if let Some(why) = writer.view.wrong() {
            return Err(why);
        }
        writer.look()?;
    }
    println!("{}", summary(&resets));
    match sum(|view| &view.done).0 > sum(|view| &view.errors).0 {
        true => Ok(()),
        false => Err("nothing worked".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(disk: &str, flag: &str) -> Vec<String> {
        [disk, "7", "3", "60", flag]
            .iter()
            .map(|word| String::from(*word))
            .collect()
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("writers-{}-{name}", std::process::id()));

        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_right_is_told_from_what_is_not() {
        let folder = folder("right");
        let disk = folder.join("disk");
        let words = words(disk.to_str().unwrap(), folder.join("f").to_str().unwrap());
        let words: Vec<_> = words.iter().map(String::as_str).collect();

        std::fs::write(&disk, vec![0; WRITERS as usize * BLOCKS * SECTOR]).unwrap();
        let task = Task::parse(&words).unwrap();
        let Ok(mut writer) = Writer::new(&task, 1) else {
            // No direct I/O here.
            return;
        };
        writer.io(true, 3, 5).unwrap();
        writer.io(true, 4, 1).unwrap();
        writer.io(false, 0, 9).unwrap();
        // Of a write that failed nobody knows; but what was read once stays.
        writer.known[4].push(9);
        let other = OpenOptions::new().write(true).open(&disk).unwrap();
        let place = ((BLOCKS + 4) * SECTOR) as u64;
        other.write_at(&content(1, 4, 9), place).unwrap();
        writer.io(false, 4, 1).unwrap();
        other.write_at(&content(1, 4, 2), place).unwrap();
        assert!(writer.io(false, 4, 1).is_err());
        // One byte.
        other.write_at(&content(1, 4, 9), place).unwrap();
        writer.io(false, 4, 1).unwrap();
        other.write_at(&[1], place + 511).unwrap();
        assert!(writer.io(false, 4, 1).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn writers_end_when_they_are_told() {
        let folder = folder("end");
        let disk = folder.join("disk");
        let flag = folder.join("f");
        let words = words(disk.to_str().unwrap(), flag.to_str().unwrap());
        let words: Vec<_> = words.iter().map(String::as_str).collect();

        std::fs::write(&disk, vec![0; WRITERS as usize * BLOCKS * SECTOR]).unwrap();
        std::fs::write(flag.with_extension("stop"), "").unwrap();
        std::fs::write(flag.with_extension("truth"), "").unwrap();
        match run(&words) {
            Ok(()) => (),
            Err(why) => assert!(why.contains("Invalid argument"), "{why}"),
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_task_has_its_words() {
        assert!(Task::parse(&["a", "1", "2", "3", "f"]).is_ok());
        assert!(Task::parse(&["a", "1", "2", "3", "f", "r", "1"]).is_ok());
        for words in [
            &["a"][..],
            &["a", "x", "2", "3", "f"],
            &["a", "1", "2", "3", "f", "r"],
        ] {
            assert!(Task::parse(words).is_err(), "{words:?}");
        }
    }
}
