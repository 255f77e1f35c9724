// SPDX-License-Identifier: GPL-2.0
//! Programs that move bytes. Readers and writers go on until `EAGAIN`, and then wait on evpoll
//! alone: nobody else looks at their descriptors, so an event that is lost, or a condition that
//! nobody was made to tell of, is a wait without an end.

use super::channel::Kind;
use super::oracle::Counts;
use super::program::{Op, Program, Verb};
use crate::abi::*;
use crate::net::try_set;
use crate::queue::Queue;
use crate::sys::{limit, read, write, Fd};

/// How long a wait may take when there is still something to do, in milliseconds, before scaling.
const PATIENCE: u64 = 800;
/// So many in a row: where a machine gets no processor for so long, its time goes on.
const WAITS: u32 = 4;

/// One end, and how far it has come.
struct End {
    fd: Fd,
    writes: bool,
    chunk: usize,
    left: usize,
    tests: bool,
    name: String,
}

impl End {
    /// Goes on until `EAGAIN`, or until it is done.
    fn go_on(&mut self) -> Result<(), String> {
        let data = vec![b'x'; if self.writes { self.chunk } else { 0 }];
        while self.left > 0 {
            let done = match self.writes {
                true => write(&self.fd, &data[..self.chunk.min(self.left)]),
                false => read(&self.fd, self.chunk).map(|data| data.len()),
            };
            match done {
                Ok(0) => return Err(format!("{}: the end, too early", self.name)),
                Ok(n) => self.left = self.left.saturating_sub(n),
                Err(Errno(libc::EAGAIN)) => return Ok(()),
                Err(e) => return Err(format!("{}: {e}", self.name)),
            }
        }
        Ok(())
    }

    fn interest(&self) -> u32 {
        match self.writes {
            true => OUT,
            false => IN,
        }
    }
}

/// The event loop of some ends, on a queue of its own.
fn event_loop(ends: &mut [End], patience: i32) -> Result<u64, String> {
    let queue = Queue::new(ends.len() as i32);
    let mut events = 0;
    for end in ends.iter_mut() {
        let op = match end.tests {
            true => EP_CTL_ADD_AND_TEST,
            false => EP_CTL_ADD,
        };
        queue.ctl(op, end.fd.raw(), end.interest());
        // With a test, there is an event of what can be done at once.
        if !end.tests {
            end.go_on()?;
        }
    }
    let mut in_vain = 0;
    while ends.iter().any(|end| end.left > 0) {
        let entries = queue.wait(patience);
        in_vain = match entries.is_empty() {
            true => in_vain + 1,
            false => 0,
        };
        if in_vain == WAITS {
            let waiting = ends.iter().filter(|end| end.left > 0);
            let names: Vec<String> = waiting
                .map(|end| {
                    let bits = crate::sys::poll_now(end.fd.raw(), VALID);
                    let name = &end.name;
                    format!(
                        "{name}, {} bytes left, poll(2) shows {}",
                        end.left,
                        Bits(bits)
                    )
                })
                .collect();
            return Err(format!("waits for ever: {}", names.join("; ")));
        }
        events += entries.len() as u64;
        for e in entries {
            match ends.iter_mut().find(|end| end.fd.raw() == e.fd) {
                Some(end) => end.go_on()?,
                None => return Err(format!("an entry for what is not watched: {e:?}")),
            }
        }
    }
    Ok(events)
}

/// The two ends of a flow: reader, writer.
fn flow(op: &Op) -> Option<[End; 2]> {
    let [kind, total, write, read, tests] = op.args;
    let kind = Kind::of(kind);
    if !Kind::RELIABLE.contains(&kind) || total == 0 {
        return None;
    }
    let (first, second) = kind.open().ok()?;
    if kind.has_messages() {
        // Small enough to be full in the middle.
        let _ = try_set(&second, libc::SOL_SOCKET, libc::SO_SNDBUF, 4608);
    }
    // One message has to fit, and is read as a whole.
    let write = match kind.has_messages() {
        true => write.clamp(1, 1024),
        false => write.max(1),
    };
    let read = match kind.has_messages() {
        true => read.max(write),
        false => read.max(1),
    };
    let end = |fd, writes, chunk: u32, what: &str| End {
        fd,
        writes,
        chunk: chunk as usize,
        left: total as usize,
        tests: tests != 0,
        name: format!("the {what} of {}", op),
    };
    Some([
        end(first, false, read, "reader"),
        end(second, true, write, "writer"),
    ])
}

/// Runs a program.
pub fn run(program: &Program) -> Result<Counts, String> {
    let flows = program.ops.iter().filter(|op| op.verb == Verb::Flow);
    let mut ends: Vec<End> = flows.filter_map(flow).flatten().collect();
    let size = match program.has(Verb::Shared) {
        true => ends.len(),
        false => 1,
    };
    let patience = limit(PATIENCE);
    // An end stays open until all are done, so that no other one finds more than its own fault.
    let results: Vec<Result<u64, String>> = std::thread::scope(|s| {
        let threads: Vec<_> = ends
            .chunks_mut(size.max(1))
            .map(|ends| s.spawn(move || event_loop(ends, patience)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a thread died".to_owned()))
            })
            .collect()
    });
    let mut counts = Counts::default();
    for result in results {
        counts.events += result?;
    }
    Ok(counts)
}
