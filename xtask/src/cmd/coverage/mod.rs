// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask coverage`: which lines of `fs/evpoll` and of `fs/fcblist.c` the tests never reach.
//!
//! KCOV follows a task between two calls, in process context only, and what matters here also runs
//! in softirqs, in work items and on the way out of a program. So it is the emulator that keeps the
//! record. QEMU translates a block of instructions when it is about to run it for the first time,
//! and can log each block that it translates within given ranges. A block is a straight line that
//! ends with the first branch, call or return, or earlier, at the end of a page; the next one has an
//! entry of its own. So all of a block was run if it was entered, except for what comes after an
//! instruction that faults; and those that may, accesses to user memory, are in functions of others
//! in this kernel, which does not inline helpers.
//!
//! From addresses to lines it goes by the kernel's debugging information, with what was inlined: a
//! line that calls a function that was inlined has been reached if anything of that call has. Lines
//! that the compiler has merged with others, or has made conditional moves of, cannot be told
//! apart, and lines for which there is no code do not count.

mod accepted;
mod code;
mod report;
mod run;
mod trace;

use crate::cli;
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::kernel::Build;
use crate::progress::Step;
use crate::{files, packages, rootfs};
use accepted::Accepted;
use code::Code;
use report::Report;
use trace::Reached;

/// The least part of the lines of a file that is to be reached, in percent.
const LEAST: usize = 90;

pub fn main(ctx: &Ctx, args: cli::Coverage) -> anyhow::Result<u8> {
    refuse(ctx)?;
    packages::ensure(ctx, &packages::BOOT)?;
    let ctx = Ctx {
        profile: Profile::Coverage,
        ..ctx.clone()
    };
    let filter = args.filter.as_deref();
    let accepted = Accepted::read(&ctx.root.join(accepted::FILE))?;
    let programs = rootfs::build_programs(&ctx)?;
    let set = rootfs::programs_for_tests(&ctx, &programs.selftests)?;
    let build = Build::prepare(&ctx)?;
    let kernel = build.kernel()?;
    let tree = build.tree.dir.clone();
    let step = Step::start("reading the debugging information");
    let code = Code::of(&build.objdir.join("vmlinux"))?;
    step.done(format!("{} of code", size(code.size())));
    drop(build);

    // Each run is a boot of its own; what they reach adds up.
    let mut reached = Reached::default();
    let mut failed = Vec::new();
    for run in run::runs(&ctx, &kernel, &programs.selftests, &set, filter)? {
        failed.extend(run.boot(&ctx, &code.ranges, &mut reached)?);
    }

    let report = Report::new(&code.lines(&reached)?, &tree, accepted)?;
    print!("{}", report.table());
    print!("{}", report.never_reached());
    if let Some(file) = &args.report {
        files::write(file, report.annotated().as_bytes())?;
    }
    for test in &failed {
        println!("failed: {test}");
    }
    // A part of the tests reaches a part of the lines.
    let faults = match filter {
        Some(_) => Vec::new(),
        None => report.faults(LEAST),
    };
    for fault in &faults {
        println!("{fault}");
    }
    Ok(u8::from(!failed.is_empty() || !faults.is_empty()))
}

/// An error for options that would have no effect.
fn refuse(ctx: &Ctx) -> anyhow::Result<()> {
    if ctx.profile == Profile::Release {
        return Ok(());
    }
    let text = "coverage has a kernel of its own: leave out --profile";
    Err(Fatal::Setup(text.into()).into())
}

fn size(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_profile_is_refused() {
        let refused = |words: &[&str]| {
            let words = ["xtask", "coverage"].iter().chain(words);
            let cli = cli::Cli::try_parse_from(words).unwrap();
            refuse(&Ctx::resolve(cli.common).unwrap()).is_err()
        };
        assert!(!refused(&[]));
        assert!(refused(&["--profile", "debug"]));
        assert!(refused(&["--profile", "race"]));
    }
}
