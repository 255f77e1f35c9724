// SPDX-License-Identifier: GPL-2.0
//! `evpoll-peers [--watch] [--times N] PLAN`: runs programs that are not ours, the kernel's own
//! selftests, and says how each ended. It judges nothing.
//!
//! PLAN is a file with one test a line: its name, its time limit in seconds, and a command for a
//! shell, with a tab in between. Each runs in a cgroup, a session, a mount and a network namespace
//! (loopback is up) of its own, in the folder of the plan; what is left of it afterwards is killed.
//! On standard output, for each:
//!
//! ```text
//! > NAME
//! | a line of its output
//! < NAME 120 ms exit 0        or: signal 11, or: timeout 60
//! ```
//!
//! and in the end, with `--watch`, `watcher ROUNDS EVENTS`: meanwhile a queue was in use (see
//! [`watcher`]). `--times` runs each so many times in a row. The exit status is 0 if all could be
//! run, however they ended; 1 if the watcher failed, 2 for a plan that cannot be carried out.

mod plan;
mod test;
mod watcher;

use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};

const USAGE: &str = "usage: evpoll-peers [--watch] [--times N] PLAN";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == [watcher::FLAG] {
        return watcher::main();
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("evpoll-peers: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether the watcher, if any, was content; an error in words if not even that is known.
fn run(args: &[String]) -> Result<bool, String> {
    let (mut watch, mut times, mut path) = (false, 1, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--watch" => watch = true,
            "--times" => {
                let count = words.next().and_then(|count| count.parse().ok());
                times = count.filter(|count| *count > 0).ok_or(USAGE)?;
            }
            other if !other.starts_with('-') && path.is_none() => path = Some(other),
            _ => return Err(USAGE.into()),
        }
    }
    let path = path.ok_or(USAGE)?;
    let plan = plan::read(path)?;
    let watcher = watch.then(start_watcher).transpose()?;
    for planned in &plan {
        for _ in 0..times {
            test::run(planned).map_err(|why| format!("{}: {why}", planned.name))?;
        }
    }
    watcher.map_or(Ok(true), end_watcher)
}

/// A process of its own: what happens to it is none of the tests' business.
fn start_watcher() -> Result<Child, String> {
    Command::new("/proc/self/exe")
        .arg(watcher::FLAG)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|why| format!("starting the watcher: {why}"))
}

/// Tells it to end and passes on what it counted.
fn end_watcher(mut watcher: Child) -> Result<bool, String> {
    drop(watcher.stdin.take());
    let mut counted = String::new();
    if let Some(mut stdout) = watcher.stdout.take() {
        stdout
            .read_to_string(&mut counted)
            .map_err(|why| format!("reading from the watcher: {why}"))?;
    }
    let status = watcher
        .wait()
        .map_err(|why| format!("waiting for the watcher: {why}"))?;
    say(&counted);
    if !status.success() {
        eprintln!("evpoll-peers: the watcher failed: {status}");
    }
    Ok(status.success())
}

/// Writes to standard output at once. That nobody reads it any more is no reason to stop: the
/// harness, too, knows when the runner ends.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
