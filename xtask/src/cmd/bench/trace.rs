// SPDX-License-Identifier: GPL-2.0
//! A boot of which the emulator records every instruction, while the program asks for it.
//!
//! The program says READY and waits for a line. Meanwhile the machine is stopped, told to make a
//! block of each instruction and to log each block that it runs, and started again. When the program
//! says DONE and waits for another line, that is over.

use super::boot::{check, Bench, Output};
use super::plan::PROFILE;
use crate::bench::{read_profile, Profile, Symbols};
use crate::files;
use crate::guest::{Input, Reins, Sink};
use crate::qemu::{Acceleration, Monitor, Trace, Traced};
use anyhow::{bail, Context};
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;

const READY: &[u8] = b"READY\n";
const DONE: &[u8] = b"DONE\n";
/// One instruction a block: QEMU 8.1 has given it another name.
const SINGLE: [&str; 2] = ["one-insn-per-tb on", "singlestep on"];

/// Runs the profile of an interface, with so many events a wait.
pub fn record(
    bench: &Bench,
    interface: &str,
    active: u32,
    symbols: &Symbols,
) -> anyhow::Result<Profile> {
    let arguments = [PROFILE.to_owned(), interface.to_owned(), active.to_string()];
    let input = Some(Input::Sink);
    let boot = bench.boot(arguments.to_vec(), Acceleration::Counting, 1, input);
    let trace = Trace {
        log: bench.ctx.log("bench-trace"),
        of: Traced::OnDemand,
    };
    files::remove(&trace.log)?;
    let mut driver = Driver::default();
    let outcome = boot.run_traced(bench.ctx, &mut driver, Some(&trace))?;
    if let Some(error) = driver.failed {
        return Err(error);
    }
    check(&outcome, &driver.output)?;
    if driver.recorded < 2 {
        bail!("evpoll-bench did not ask for a record of {interface}");
    }
    let log = File::open(&trace.log)
        .with_context(|| format!("QEMU has written no log to {}", trace.log.display()))?;
    let profile = read_profile(BufReader::with_capacity(1 << 20, log), symbols)
        .with_context(|| format!("{}, {interface}", trace.log.display()))?;
    files::remove(&trace.log)?;
    Ok(profile)
}

#[derive(Default)]
struct Driver {
    output: Output,
    reins: Option<(Monitor, UnixStream)>,
    /// Lines of the program that have been answered: READY, DONE.
    recorded: usize,
    failed: Option<anyhow::Error>,
}

impl Driver {
    /// Answers the next line, if it is there.
    fn answer(&mut self) -> anyhow::Result<()> {
        let ready = self.output.stdout.ends_with(READY) && self.recorded == 0;
        let done = self.output.stdout.ends_with(DONE) && self.recorded == 1;
        if !ready && !done {
            return Ok(());
        }
        let (monitor, stdin) = self.reins.as_mut().context("there is no monitor")?;
        monitor.silently("stop")?;
        if ready {
            single(monitor)?;
            monitor.silently("log exec,nochain")?;
        } else {
            monitor.silently("log none")?;
        }
        monitor.silently("cont")?;
        self.recorded += 1;
        stdin.write_all(b"\n").context("writing to the guest")?;
        Ok(())
    }

    /// The first error ends the boot.
    fn noted(&mut self, result: anyhow::Result<()>) -> std::io::Result<()> {
        result.map_err(|error| {
            let text = error.to_string();
            self.failed.get_or_insert(error);
            std::io::Error::other(text)
        })
    }
}

fn single(monitor: &mut Monitor) -> anyhow::Result<()> {
    let mut said = String::new();
    for command in SINGLE {
        said = monitor.command(command)?;
        if said.is_empty() {
            return Ok(());
        }
    }
    bail!("this QEMU cannot run instructions one by one: {said}")
}

impl Sink for Driver {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output.stdout(bytes)?;
        let result = self.answer();
        self.noted(result)
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output.stderr(bytes)
    }

    fn steer(&mut self, reins: Reins) {
        match Monitor::new(reins.monitor) {
            Ok(monitor) => self.reins = Some((monitor, reins.stdin)),
            Err(error) => self.failed = Some(error),
        }
    }
}
