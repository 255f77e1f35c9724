// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask fuzz`: random programs on the patched kernel, compared with epoll, until one fails
//! or time is up. The guest's program does the work; here it is booted and listened to.

use crate::cli;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::guest::{End, Outcome};
use crate::guest_program::{complaints, GuestProgram};
use crate::rootfs::{self, Program};
use crate::{files, kernel, packages};
use anyhow::Context;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

/// The file of a replay, in the guest.
const REPLAY: &str = "program";

pub fn main(ctx: &Ctx, args: cli::Fuzz) -> anyhow::Result<u8> {
    let replay = args.replay.as_deref().map(readable).transpose()?;
    packages::ensure(ctx, &packages::BOOT)?;
    let programs = rootfs::build_programs(ctx)?;
    let kernel = kernel::build(ctx)?;
    let seed = args.seed.unwrap_or_else(random);
    let mut set = vec![Program::new("evpoll-fuzz", &programs.fuzz)];
    let mut words = Vec::new();
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
    let fuzz = GuestProgram {
        name: "fuzz",
        programs: set,
        arguments: words,
        seconds: args.seconds,
    };
    let outcome = fuzz.run(ctx, &kernel).context("fuzzing")?;
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

/// What to tell, and the exit status.
fn conclude(outcome: &Outcome, ctx: &Ctx, seed: Option<u64>) -> anyhow::Result<u8> {
    let profile = ctx.profile.name();
    let complained = complaints(outcome);
    let again =
        |seed| format!("the same again: cargo xtask fuzz --seed {seed} --profile {profile}");
    let status = match (&outcome.end, seed) {
        (End::Exited(0), _) if !complained => return Ok(0),
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
}
