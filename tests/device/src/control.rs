// SPDX-License-Identifier: GPL-2.0

//! How a test speaks to the running device: one line for a command, one for the answer.
//!
//! - `fault WORDS`: see `faults.rs`; `clear`: no faults from now on
//! - `release`: complete what was dropped, and send the interrupts that were
//! - `silence`, `silence N`, `resume`: take nothing off the rings, or off those from N on; go on
//! - `deaf N`: do not hear the next N notifications of the driver
//! - `stale`, `fresh`: leave the event index of the rings as it is, so that the driver takes its kicks for
//!   unwanted; keep it up again (what is in the rings waits for the next kick)
//! - `lies SEED ONE-OF COUNT [GENTLE | KIND]`: cheat about one answer of so many, so many times; see
//!   `lies.rs`. GENTLE: of what the driver has to wait after, tell one of so many; KIND: tell nothing
//!   else. `await MS`: wait until that is done, but not longer; `told` if it is. `truth`: do not, and say how
//!   often it was done
//! - `latency MS`, `order fifo|reversed|random`
//! - `capacity SECTORS`: resize; `config FIELD NUMBER`: change only what the driver reads. Both
//!   interrupt the driver (VDUSE only)
//! - `unheard COMMAND`: what it changes of the configuration is not told, as if that interrupt got lost
//! - `zone SECTOR read-only|offline`
//! - `disconnect`: end the connection to QEMU; it comes back if it was told to (vhost-user only)
//! - a SCSI host: `add T:L SERIAL BLOCKS`, `remove T:L`, `resize T:L BLOCKS` a logical unit, each with
//!   an event unless `silently` follows; `event WORDS`: any event, see `scsi.rs`
//! - `forget`: drop the events that the driver had no buffer for yet
//! - `mark TEXT`: write it to the log; `state`: numbers, of which `wrong` is how many answers were
//!   delivered wrongly and notifications not heard, and `ago` how many milliseconds ago the last
//! - `quit`

use crate::{
    engine::Engine,
    faults::parse_number, //
};
use std::{
    io::{
        self,
        BufRead,
        BufReader,
        Write, //
    },
    os::unix::net::{
        UnixListener,
        UnixStream, //
    },
    path::Path,
    sync::Arc,
    time::Duration, //
};

fn answer(engine: &Engine, line: &str) -> String {
    let line = line.trim();
    let (verb, words) = line.split_once(' ').unwrap_or((line, ""));

    if verb == "quit" {
        std::process::exit(0);
    }
    if verb == "await" {
        // Here, where nobody else waits for this.
        return match parse_number(words.trim()) {
            Ok(ms) if engine.all_told(Duration::from_millis(ms)) => "ok told".into(),
            Ok(_) => "ok".into(),
            Err(why) => format!("error {why}"),
        };
    }
    match engine.command(verb, words.trim()) {
        Ok(reply) => format!("ok {reply}").trim_end().into(),
        Err(why) => format!("error {why}"),
    }
}

fn serve(engine: &Engine, stream: UnixStream) -> io::Result<()> {
    let mut reply = stream.try_clone()?;

    for line in BufReader::new(stream).lines() {
        writeln!(reply, "{}", answer(engine, &line?))?;
    }
    Ok(())
}

/// Listens on a socket, in threads of its own.
pub fn listen(engine: &Arc<Engine>, path: &Path) -> Result<(), String> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let engine = engine.clone();

    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let engine = engine.clone();
            std::thread::spawn(move || {
                if let Err(e) = serve(&engine, stream) {
                    eprintln!("blkdev: control: {e}");
                }
            });
        }
    });
    Ok(())
}

/// The other side: sends one command, prints the answer.
pub fn send(path: &str, command: &str) -> Result<(), String> {
    let failed = |e: io::Error| format!("{path}: {e}");
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    let mut reply = String::new();

    writeln!(stream, "{command}").map_err(failed)?;
    BufReader::new(stream)
        .read_line(&mut reply)
        .map_err(failed)?;
    match reply.trim().strip_prefix("error ") {
        Some(why) => Err(format!("{command}: {why}")),
        None => {
            let words = reply.trim().trim_start_matches("ok").trim();
            if !words.is_empty() {
                println!("{words}");
            }
            Ok(())
        }
    }
}
