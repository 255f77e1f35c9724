// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask fuzz`: random programs on the patched kernel, compared with epoll, until one fails
//! or time is up. The guest's program does the work; here it is booted and listened to.

use crate::cli;
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::guest::{Boot, End, Input, Limits, Outcome, Root, Sink, Task};
use crate::kernel::Kernel;
use crate::progress::Step;
use crate::qemu;
use crate::rootfs::{self, Program};
use crate::{files, kernel, packages};
use anyhow::Context;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The file of a replay, in the guest.
const REPLAY: &str = "program";

pub fn main(ctx: &Ctx, args: cli::Fuzz) -> anyhow::Result<u8> {
    let replay = args.replay.as_deref().map(readable).transpose()?;
    packages::ensure(ctx, &[qemu::PACKAGE, "busybox-static"])?;
    let programs = rootfs::build_programs(ctx)?;
    let kernel = kernel::build(ctx)?;
    let seed = args.seed.unwrap_or_else(random);
    let mut set = vec![Program::new("evpoll-fuzz", &programs.fuzz)];
    let mut words = vec!["/evpoll/evpoll-fuzz".to_owned()];
    match replay {
        Some(file) => {
            words.extend(["--replay".to_owned(), format!("/evpoll/{REPLAY}")]);
            set.push(Program::new(REPLAY, file));
        }
        None => {
            words.extend(["--seed".to_owned(), seed.to_string()]);
            words.extend(["--seconds".to_owned(), args.seconds.to_string()]);
        }
    }
    let slow = match ctx.profile {
        Profile::Release => 3,
        Profile::Debug => 12,
    };
    words.extend(["--scale".to_owned(), slow.to_string()]);

    let outcome = boot(ctx, &kernel, set, words, args.seconds, slow)?;
    conclude(&outcome, ctx, args.replay.is_none().then_some(seed))
}

/// A file that is there, and is text: what is wrong inside of it is for the guest to say.
fn readable(file: &Path) -> anyhow::Result<&Path> {
    match files::read(file)? {
        Some(text) if std::str::from_utf8(&text).is_ok() => Ok(file),
        Some(_) => Err(setup(format!("{}: not a program of text", file.display()))),
        None => Err(setup(format!("{}: there is no such file", file.display()))),
    }
}

fn setup(text: String) -> anyhow::Error {
    Fatal::Setup(text).into()
}

/// Something else every time.
fn random() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    // Short enough to be typed.
    (now ^ u64::from(std::process::id()) << 20) % 1_000_000_000
}

fn boot(
    ctx: &Ctx,
    kernel: &Kernel,
    programs: Vec<Program>,
    command: Vec<String>,
    seconds: u64,
    slow: u64,
) -> anyhow::Result<Outcome> {
    let boot = Boot {
        name: "fuzz",
        task: Task {
            root: Root::Guest,
            command,
            environment: vec![
                ("PATH".into(), "/bin".into()),
                ("TMPDIR".into(), "/tmp".into()),
            ],
            folder: "/".into(),
            terminal: None,
            alive: 5,
            hold: false,
            leaks: true,
        },
        programs,
        processors: 2,
        memory: match ctx.profile {
            Profile::Release => "1G".into(),
            Profile::Debug => "3G".into(),
        },
        kernel: &kernel.image,
        parameters: vec!["oops=panic".into()],
        accelerations: qemu::candidates(ctx.accel),
        input: Input::Nothing,
        limits: limits(seconds, slow),
    };
    let mut sink = Through {
        booting: Some(Step::start(format!(
            "booting {} to fuzz it",
            kernel.release
        ))),
    };
    let outcome = boot.run(ctx, &mut sink).context("fuzzing")?;
    Ok(outcome)
}

/// A program that fails is shrunk, for which there is time besides that of the run; each run has a
/// limit of its own in the guest, so that silence is a hang.
fn limits(seconds: u64, slow: u64) -> Limits {
    let scaled = |base: u64| Duration::from_secs(base * slow);
    Limits {
        ready: scaled(40),
        silence: None,
        total: Some(Duration::from_secs(seconds) + scaled(400)),
        alive: Some(scaled(20)),
    }
}

/// What to tell, and the exit status.
fn conclude(outcome: &Outcome, ctx: &Ctx, seed: Option<u64>) -> anyhow::Result<u8> {
    let profile = ctx.profile.name();
    if let Some(first) = outcome.reports.first() {
        println!("the kernel complained ({} times):", outcome.reports.len());
        first.iter().for_each(|line| println!("    {line}"));
        println!("the whole console is in {}", outcome.console.display());
    }
    let again =
        |seed| format!("the same again: cargo xtask fuzz --seed {seed} --profile {profile}");
    let status = match (&outcome.end, seed) {
        (End::Exited(0), _) if outcome.reports.is_empty() => return Ok(0),
        (End::Exited(2), _) => {
            return Err(setup(
                "evpoll-fuzz could not do its work, see what it says above".into(),
            ))
        }
        (End::Exited(status), _) if *status > 1 => {
            let text = format!("evpoll-fuzz ended with status {status}");
            return Err(Fatal::Guest(text).into());
        }
        (End::Exited(_), _) => 1,
        (_, Some(seed)) => {
            println!("{}", again(seed));
            return outcome.status(Some("the fuzzing"));
        }
        (_, None) => return outcome.status(Some("the replay")),
    };
    if let Some(seed) = seed {
        println!("{}", again(seed));
        println!(
            "only the shortest program: put it into a file, cargo xtask fuzz --replay FILE \
             --profile {profile}"
        );
    }
    std::io::stdout().flush()?;
    Ok(status)
}

/// The guest's output is xtask's own.
struct Through {
    booting: Option<Step>,
}

impl Sink for Through {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().write_all(bytes)
    }

    fn ready(&mut self) {
        if let Some(step) = self.booting.take() {
            step.done("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_to_be_there_and_be_text() {
        let missing = readable(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.to_string().contains("no such file"), "{missing}");
        assert!(readable(Path::new("/proc/self/exe")).is_err());
        assert!(readable(Path::new("/proc/self/status")).is_ok());
    }

    #[test]
    fn there_is_time_to_shrink_what_is_found() {
        let limits = limits(60, 3);
        assert!(limits.total.unwrap() > Duration::from_secs(60 + 600));
    }
}
