// SPDX-License-Identifier: GPL-2.0
//! One boot: tests on one kernel, and what they gave.

use super::list::Test;
use super::transcript::{Results, Transcript};
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::files;
use crate::guest::{Boot, End, Input, Limits, Outcome, Sink, Task};
use crate::kernel::Kernel;
use crate::progress::Step;
use crate::qemu;
use crate::rootfs::Program;
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const RUNNER: &str = "evpoll-peers";
/// The programs' folder below the guest's `/evpoll`, and the plan in it.
const FOLDER: &str = "peers";
const PLAN: &str = "peers/plan";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The kernel without the series.
    Plain,
    /// With it, and nobody uses it: the hooks are switched off.
    Patched,
    /// With it, and a queue is in use all the time: the hooks are switched on.
    InUse,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Plain, Side::Patched, Side::InUse];

    pub fn name(self) -> &'static str {
        match self {
            Side::Plain => "plain",
            Side::Patched => "patched",
            Side::InUse => "in use",
        }
    }

    /// In a sentence.
    pub fn kernel(self) -> &'static str {
        match self {
            Side::Plain => "the plain kernel",
            Side::Patched => "the patched kernel",
            Side::InUse => "the patched kernel, a queue in use",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Side::Plain => "peers-plain",
            Side::Patched => "peers-patched",
            Side::InUse => "peers-in-use",
        }
    }
}

/// Everything that a boot takes besides the tests.
pub struct Guest<'a> {
    pub ctx: &'a Ctx,
    pub plain: Kernel,
    pub patched: Kernel,
    /// The runner, of the host.
    pub runner: PathBuf,
    /// The kernel's own programs.
    pub programs: Vec<Program>,
}

/// What a boot gave.
pub struct Ran {
    pub results: Results,
    /// What the kernel complained about.
    pub reports: Vec<Vec<String>>,
    /// Rounds and events of the queue that was in use.
    pub watched: Option<(u64, u64)>,
    /// Everything that the tests said.
    pub log: PathBuf,
}

impl Guest<'_> {
    /// Runs each of the tests so many times in a row. An error is a guest that did not come to its
    /// end, or a runner that could not do its work.
    pub fn run(&self, side: Side, tests: &[Test], times: u32) -> anyhow::Result<Ran> {
        let kernel = match side {
            Side::Plain => &self.plain,
            Side::Patched | Side::InUse => &self.patched,
        };
        let slow = match self.ctx.profile {
            Profile::Release | Profile::Coverage => 1,
            Profile::Debug | Profile::Race => 8,
        };
        let folder = self.ctx.cache.join(FOLDER);
        files::make_dir(&folder)?;
        // A file of its own: two commands at once do not write into each other's.
        let plan = Plan(folder.join(format!("plan-{}", std::process::id())));
        files::write(&plan.0, plan_of(tests, slow).as_bytes())?;
        let mut programs = self.programs.clone();
        programs.push(Program::new(RUNNER, &self.runner));
        programs.push(Program::new(PLAN, &plan.0));
        let log = self.ctx.log(side.file_name());
        let title = format!("running {} tests on {}", tests.len(), side.kernel());
        let mut live = Live {
            step: Step::start(title),
            log: create(&log)?,
            line: Vec::new(),
            transcript: Transcript::default(),
        };
        let boot = Boot {
            name: side.file_name(),
            task: task(side, times),
            programs,
            processors: 2,
            memory: match self.ctx.profile {
                Profile::Release | Profile::Coverage => "2G".into(),
                Profile::Debug | Profile::Race => "4G".into(),
            },
            kernel: &kernel.image,
            parameters: vec!["oops=panic".into()],
            accelerations: qemu::candidates(self.ctx.accel),
            input: Input::Nothing,
            limits: limits(tests, slow, times),
        };
        let outcome = boot.run(self.ctx, &mut live)?;
        let Live {
            step, transcript, ..
        } = live;
        let ran = judge(side, outcome, transcript, log)?;
        step.done(format!("{} results", ran.results.len()));
        Ok(ran)
    }
}

/// Whether the boot tells anything.
fn judge(
    side: Side,
    outcome: Outcome,
    transcript: Transcript,
    log: PathBuf,
) -> anyhow::Result<Ran> {
    let running = transcript.running().map(str::to_owned);
    let during = running.map(|test| format!("{test} on {}", side.kernel()));
    let status = outcome.status(during.as_deref())?;
    if let End::Signal(signal) = outcome.end {
        return Err(Fatal::Setup(format!("interrupted by signal {signal}")).into());
    }
    let told = format!("what it said is in {}", log.display());
    if status == 1 && side == Side::InUse {
        let text = format!("the queue that was in use lost an event; {told}");
        return Err(Fatal::Failed(text).into());
    }
    if status != 0 {
        let text = format!("the tests' runner failed in the guest with status {status}; {told}");
        return Err(Fatal::Setup(text).into());
    }
    if let Some(fault) = transcript.faults.first() {
        return Err(Fatal::Setup(format!("the tests' runner: {fault}; {told}")).into());
    }
    if side == Side::InUse && transcript.watched.is_none_or(|(_, events)| events == 0) {
        let text = format!("the queue that was to be in use saw no event; {told}");
        return Err(Fatal::Failed(text).into());
    }
    Ok(Ran {
        results: transcript.results,
        reports: outcome.reports,
        watched: transcript.watched,
        log,
    })
}

fn task(side: Side, times: u32) -> Task {
    let mut command = vec![format!("/evpoll/{RUNNER}"), "--times".into()];
    command.push(times.to_string());
    if side == Side::InUse {
        command.push("--watch".into());
    }
    command.push(format!("/evpoll/{PLAN}"));
    Task::of_program(command)
}

/// As the runner reads it.
fn plan_of(tests: &[Test], slow: u64) -> String {
    tests
        .iter()
        .map(|test| format!("{}\t{}\t{}\n", test.name, test.limit * slow, test.command))
        .collect()
}

/// Each test has its own limit in the guest; these are for when that does not work any more.
fn limits(tests: &[Test], slow: u64, times: u32) -> Limits {
    let longest = tests.iter().map(|test| test.limit).max().unwrap_or(0) * slow;
    let all: u64 = tests.iter().map(|test| test.limit * slow + 30).sum();
    Limits {
        ready: Duration::from_secs(120 * slow),
        silence: Some(Duration::from_secs(longest + 60 * slow)),
        total: Some(Duration::from_secs(all * u64::from(times) + 120 * slow)),
        alive: Some(Duration::from_secs(120 * slow)),
    }
}

fn create(path: &std::path::Path) -> anyhow::Result<File> {
    if let Some(folder) = path.parent() {
        files::make_dir(folder)?;
    }
    File::create(path).with_context(|| format!("writing {}", path.display()))
}

/// The plan's file, removed when dropped.
struct Plan(PathBuf);

impl Drop for Plan {
    fn drop(&mut self) {
        let _ = files::remove(&self.0);
    }
}

/// Follows the tests as they run.
struct Live {
    step: Step,
    log: File,
    line: Vec<u8>,
    transcript: Transcript,
}

impl Sink for Live {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // A full disk shall not end the boot that it cannot record.
        let _ = self.log.write_all(bytes);
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.transcript.line(&String::from_utf8_lossy(&line));
            if let Some(running) = self.transcript.running() {
                self.step.note(running);
            }
        }
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test() -> Test {
        Test {
            name: "net/x",
            limit: 60,
            command: "./x".into(),
            programs: vec!["x"],
        }
    }

    fn outcome(status: u8) -> Outcome {
        Outcome {
            end: End::Exited(status),
            reports: vec![],
            last: vec![],
            console: "/console".into(),
        }
    }

    fn transcript(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        text.lines().for_each(|line| transcript.line(line));
        transcript
    }

    #[test]
    fn the_plan_has_a_line_for_each_test() {
        assert_eq!(plan_of(&[test(), test()], 2), "net/x\t120\t./x\n".repeat(2));
    }

    #[test]
    fn the_runner_is_told_which_side_it_is_on() {
        let watched = |side| task(side, 3).command.contains(&"--watch".to_owned());
        assert!(watched(Side::InUse) && !watched(Side::Patched) && !watched(Side::Plain));
    }

    #[test]
    fn a_queue_that_saw_nothing_proves_nothing() {
        let judged = |text: &str| judge(Side::InUse, outcome(0), transcript(text), "/log".into());
        assert!(judged("watcher 3 36\n").is_ok());
        assert!(judged("").is_err());
        assert!(judged("watcher 0 0\n").is_err());
        assert!(judge(Side::Patched, outcome(0), transcript(""), "/log".into()).is_ok());
    }

    #[test]
    fn a_runner_that_failed_is_an_error() {
        for side in Side::ALL {
            let all = "> net/x\n< net/x 1 ms exit 0\nwatcher 1 1\n";
            assert!(judge(side, outcome(0), transcript(all), "/log".into()).is_ok());
            assert!(judge(side, outcome(1), transcript(all), "/log".into()).is_err());
            assert!(judge(side, outcome(0), transcript("nonsense"), "/log".into()).is_err());
        }
    }
}
