// SPDX-License-Identifier: GPL-2.0
//! One program of the selftests package, for as long as it is asked to run: booted, listened to,
//! and the kernel's complaints with it. What `soak` and `fuzz` have in common.

use crate::ctx::{Ctx, Profile};
use crate::guest::{Boot, Input, Limits, Outcome, Task, Through};
use crate::kernel::Kernel;
use crate::qemu::{self, Acceleration};
use crate::rootfs::Program;
use std::time::Duration;

/// A program, and what it is told.
pub struct GuestProgram<'a> {
    /// Names the files that the boot leaves: `console-NAME.log`.
    pub name: &'a str,
    /// The first is what is run; it gets `--scale N` besides its `arguments`.
    pub programs: Vec<Program>,
    pub arguments: Vec<String>,
    /// How long it works by itself; what it does before and after takes its time besides.
    pub seconds: u64,
}

impl GuestProgram<'_> {
    /// Boots the kernel for it. Its output is xtask's own, as it comes; on a kernel with kmemleak,
    /// that has the last word. Fails only if there is no guest to be had: how it ended, and what
    /// the kernel complained about, is in the outcome.
    pub fn run(self, ctx: &Ctx, kernel: &Kernel) -> anyhow::Result<Outcome> {
        let accelerations = qemu::candidates(ctx.accel);
        let scale = scale(ctx.profile, &accelerations);
        let mut command: Vec<String> = self
            .programs
            .first()
            .map(|program| format!("/evpoll/{}", program.name))
            .into_iter()
            .collect();
        command.extend(self.arguments);
        command.extend(["--scale".to_owned(), scale.to_string()]);
        let boot = Boot {
            name: self.name,
            task: Task {
                leaks: true,
                ..Task::of_program(command)
            },
            programs: self.programs,
            processors: 2,
            memory: ctx.profile.memory().into(),
            kernel: &kernel.image,
            // A kernel that has oopsed is not one to go on with.
            parameters: vec!["oops=panic".into()],
            accelerations,
            input: Input::Nothing,
            limits: limits(self.seconds, scale.into()),
        };
        let mut sink = Through::new(format!("booting {} for {}", kernel.release, self.name));
        boot.run(ctx, &mut sink)
    }
}

/// Prints what the kernel complained about, if it did. Returns whether it did.
pub fn complaints(outcome: &Outcome) -> bool {
    let Some(first) = outcome.reports.first() else {
        return false;
    };
    println!("the kernel complained ({} times):", outcome.reports.len());
    first.iter().for_each(|line| println!("    {line}"));
    println!("the whole console is in {}", outcome.console.display());
    true
}

/// What the time limits of tests are multiplied by.
pub fn scale(profile: Profile, accelerations: &[Acceleration]) -> u32 {
    let emulated = match accelerations.contains(&Acceleration::Tcg) {
        true => 3,
        false => 1,
    };
    emulated * profile.slowness()
}

/// The program has limits of its own, so that these are for when it does not get that far.
fn limits(seconds: u64, scale: u64) -> Limits {
    let scaled = |base: u64| Duration::from_secs(base * scale);
    Limits {
        ready: scaled(40),
        silence: None,
        // What comes after grows with what went before: the end of a storm, or the shrinking of a
        // program that fails.
        total: Some(Duration::from_secs(seconds.saturating_mul(3)) + scaled(400)),
        alive: Some(scaled(20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::End;

    #[test]
    fn slow_guests_get_more_time() {
        let fast = scale(Profile::Release, &[Acceleration::Kvm]);
        let emulated = scale(Profile::Release, &[Acceleration::Tcg]);
        let debug = scale(Profile::Debug, &[Acceleration::Tcg]);
        assert!(fast == 1 && fast < emulated && emulated < debug);
        assert!(limits(60, debug.into()).total > limits(60, fast.into()).total);
        assert!(limits(600, fast.into()).total.unwrap() > Duration::from_secs(600));
    }

    #[test]
    fn complaints_are_seen() {
        let mut outcome = Outcome {
            end: End::Exited(0),
            reports: vec![],
            last: vec![],
            console: "/log".into(),
        };
        assert!(!complaints(&outcome));
        outcome.reports.push(vec!["BUG: x".into()]);
        assert!(complaints(&outcome));
    }
}
