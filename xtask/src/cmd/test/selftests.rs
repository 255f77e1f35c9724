// SPDX-License-Identifier: GPL-2.0
//! The selftests: one boot, one program (which starts its like of other ABIs), its KTAP passed on
//! as it comes.

use super::report::{Open, Report};
use crate::ctx::{Ctx, Profile};
use crate::guest::{Boot, End, Input, Limits, Outcome, Sink, Task};
use crate::guest_program::scale;
use crate::kernel::Kernel;
use crate::ktap::{Case, Line, Parser, Verdict};
use crate::progress::{self, Step};
use crate::qemu::{self, Acceleration};
use crate::rootfs::TestPrograms;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The console's name among the tests.
const CONSOLE: &str = "console";

/// The names of the tests that the filter selects, in the order in which they run, with those of
/// other ABIs.
pub fn list(
    program: &Path,
    profile: Profile,
    abis: &[&str],
    filter: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(program);
    command.arg("--list").args(with(profile, abis)).args(filter);
    Ok(progress::output(&mut command)?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Which tests are to run for other ABIs: all of them where that does not take too long.
fn with<'a>(profile: Profile, abis: &[&'a str]) -> Vec<&'a str> {
    let brief = (profile != Profile::Release).then_some("--brief");
    let abis = abis.iter().flat_map(|abi| ["--with", abi]);
    abis.chain(brief).collect()
}

/// The machine that they run on, with the image of a kernel of this profile.
pub fn boot<'a>(
    profile: Profile,
    kernel: &'a Path,
    set: &TestPrograms,
    filter: Option<&str>,
    accelerations: Vec<Acceleration>,
) -> Boot<'a> {
    let scale = scale(profile, &accelerations);
    let mut command = vec!["/evpoll/evpoll-selftests".to_owned()];
    command.extend(["--scale".into(), scale.to_string()]);
    let others = with(profile, &set.abis);
    command.extend(others.into_iter().chain(filter).map(str::to_owned));
    Boot {
        name: "test",
        task: Task {
            leaks: true,
            ..Task::of_program(command)
        },
        programs: set.programs.clone(),
        processors: 2,
        memory: profile.memory().into(),
        kernel,
        // A kernel that has oopsed is not one to test any further.
        parameters: vec!["oops=panic".into()],
        accelerations,
        input: Input::Nothing,
        limits: limits(scale, set.abis.len() as u32),
    }
}

/// Runs them. What the guest says becomes two suites of the report; an error is a guest that did
/// not come to its end.
pub fn run(
    ctx: &Ctx,
    kernel: &Kernel,
    set: &TestPrograms,
    filter: Option<&str>,
    names: &[String],
    report: &mut Report,
) -> anyhow::Result<u8> {
    let accelerations = qemu::candidates(ctx.accel);
    let boot = boot(ctx.profile, &kernel.image, set, filter, accelerations);
    let mut live = Live {
        booting: Some(Step::start(format!(
            "booting {} for the selftests",
            kernel.release
        ))),
        suite: report.open("guest"),
        parser: Parser::default(),
        line: Vec::new(),
    };
    let outcome = boot.run(ctx, &mut live)?;
    let Live {
        booting,
        mut suite,
        parser,
        ..
    } = live;
    drop(booting);
    if let End::Signal(_) = outcome.end {
        suite.close();
        return outcome.status(None);
    }
    let running = names.get(suite.count()).map(String::as_str);
    for case in faults(&outcome, parser, running, &suite) {
        suite.add(case);
    }
    suite.close();
    let (verdict, said) = console(&outcome);
    report.single(CONSOLE, verdict, said);
    match outcome.end {
        // The results say it all.
        End::Exited(_) => Ok(0),
        _ => outcome.status(running),
    }
}

/// What went wrong without being the result of a test.
fn faults(outcome: &Outcome, parser: Parser, running: Option<&str>, suite: &Open) -> Vec<Case> {
    let failed = |name: &str, said: Vec<String>| Case {
        name: name.to_owned(),
        verdict: Verdict::Failed,
        said,
    };
    let End::Exited(status) = outcome.end else {
        let why = outcome.end.to_string();
        return vec![failed(running.unwrap_or("the_end"), vec![why])];
    };
    let mut said = parser.finish();
    if status > 1 || (status == 1 && !suite.any_failed()) {
        said.push(format!("the program ended with status {status}"));
    }
    if said.is_empty() {
        vec![]
    } else {
        vec![failed("protocol", said)]
    }
}

/// Whether the kernel was content.
fn console(outcome: &Outcome) -> (Verdict, Vec<String>) {
    if outcome.reports.is_empty() {
        return (Verdict::Passed, vec![]);
    }
    let mut said: Vec<String> = outcome.reports.concat();
    said.push(format!(
        "the whole console is in {}",
        outcome.console.display()
    ));
    (Verdict::Failed, said)
}

/// Each test has its own limit in the guest; these are for when that does not work any more.
fn limits(scale: u32, abis: u32) -> Limits {
    let seconds = |base: u32| Duration::from_secs(u64::from(base * scale));
    Limits {
        ready: seconds(40),
        silence: Some(seconds(60)),
        total: Some(seconds(400 * (1 + abis))),
        alive: Some(seconds(20)),
    }
}

/// Passes the selftests' lines on.
struct Live<'a> {
    booting: Option<Step>,
    suite: Open<'a>,
    parser: Parser,
    line: Vec<u8>,
}

impl Sink for Live<'_> {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line).into_owned();
            let kind = self.parser.line(&line);
            if kind == Line::Other {
                self.suite.line(&format!("# {line}"));
            } else {
                self.suite.line(&line);
            }
            if line.starts_with("KTAP version ") {
                self.suite.line("# Subtest: guest");
            }
            if let Line::Cases(cases) = kind {
                self.suite.record(cases);
            }
        }
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().write_all(bytes)
    }

    fn ready(&mut self) {
        if let Some(step) = self.booting.take() {
            step.done("");
        }
        self.suite.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_of_the_kernel_is_a_failed_test() {
        let mut outcome = Outcome {
            end: End::Exited(0),
            reports: vec![],
            last: vec![],
            console: "/log".into(),
        };
        assert_eq!(console(&outcome).0, Verdict::Passed);
        outcome
            .reports
            .push(vec!["WARNING: x".into(), "Call Trace:".into()]);
        let (verdict, said) = console(&outcome);
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(said[..2], ["WARNING: x", "Call Trace:"]);
    }
}
