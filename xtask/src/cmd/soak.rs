// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask soak`: storms on the patched kernel, for as long as one likes. The guest's program
//! does the work; here it is booted and listened to.

use crate::cli;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::guest::{End, Outcome};
use crate::guest_program::{complaints, GuestProgram};
use crate::rootfs::Program;
use crate::{kernel, packages, rootfs};
use std::io::Write;

/// The program's name in the guest.
const PROGRAM: &str = "evpoll-soak";

pub fn main(ctx: &Ctx, args: cli::Soak) -> anyhow::Result<u8> {
    packages::ensure(ctx, &packages::BOOT)?;
    let programs = rootfs::build_programs(ctx)?;
    let kernel = kernel::build(ctx)?;
    let soak = GuestProgram {
        name: "soak",
        programs: vec![Program::new(PROGRAM, programs.soak)],
        arguments: arguments(&args),
        seconds: args.seconds,
    };
    let outcome = soak.run(ctx, &kernel)?;
    let complained = complaints(&outcome);
    if complained || outcome.end != End::Exited(0) {
        println!(
            "the same again: cargo xtask soak --seconds {} --seed {} --profile {}",
            args.seconds,
            args.seed,
            ctx.profile.name()
        );
    }
    std::io::stdout().flush()?;
    conclude(&outcome, complained)
}

fn arguments(args: &cli::Soak) -> Vec<String> {
    let (seconds, seed) = (args.seconds.to_string(), args.seed.to_string());
    ["--seconds", &seconds, "--seed", &seed]
        .map(str::to_owned)
        .to_vec()
}

/// The exit status.
fn conclude(outcome: &Outcome, complained: bool) -> anyhow::Result<u8> {
    match outcome.end {
        End::Exited(0) => Ok(u8::from(complained)),
        End::Exited(2) => {
            let text = format!("{PROGRAM} could not do its work, see what it says above");
            Err(Fatal::Setup(text).into())
        }
        End::Exited(_) => Ok(1),
        _ => outcome.status(Some("a storm")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: End) -> Outcome {
        Outcome {
            end,
            reports: vec![],
            last: vec![],
            console: "/log".into(),
        }
    }

    #[test]
    fn only_a_soak_without_any_complaint_succeeds() {
        let status = |end, complained| conclude(&ended(end), complained);
        assert_eq!(status(End::Exited(0), false).unwrap(), 0);
        assert_eq!(status(End::Exited(0), true).unwrap(), 1);
        assert_eq!(status(End::Exited(101), false).unwrap(), 1);
        let hung = status(End::Hung("no sign of life".into()), false).unwrap_err();
        assert!(matches!(hung.downcast_ref(), Some(Fatal::Guest(_))));
        let wrong = status(End::Exited(2), false).unwrap_err();
        assert!(matches!(wrong.downcast_ref(), Some(Fatal::Setup(_))));
    }

    #[test]
    fn the_program_is_told_everything() {
        let args = cli::Soak {
            seconds: 600,
            seed: 7,
        };
        assert_eq!(arguments(&args), ["--seconds", "600", "--seed", "7"]);
    }
}
