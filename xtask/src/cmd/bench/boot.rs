// SPDX-License-Identifier: GPL-2.0
//! A boot for benchmarks, and the figures that come of it.

use crate::bench::{self, Figure};
use crate::ctx::{Accel, Ctx};
use crate::error::Fatal;
use crate::guest::{Boot, End, Input, Limits, Outcome, Root, Sink, Task};
use crate::kernel::Kernel;
use crate::progress::{say, Step};
use crate::qemu::Acceleration;
use crate::rootfs;
use anyhow::Context;
use std::path::Path;
use std::time::Duration;

/// Twice a hundred thousand sockets, or a million descriptors.
const MEMORY: &str = "4G";
/// Seconds, on a machine that has much else to do.
const READY: u64 = 400;
const TOTAL: u64 = 1800;
/// Lines of what the program said that an error repeats.
const LAST: usize = 3;

/// What is booted for them.
pub struct Bench<'a> {
    pub ctx: &'a Ctx,
    pub kernel: &'a Kernel,
    pub program: &'a Path,
}

/// What is measured in one boot.
pub struct Measure<'a> {
    /// What it is called on the terminal.
    pub title: String,
    pub acceleration: Acceleration,
    pub processors: u16,
    pub names: &'a [String],
}

impl Bench<'_> {
    /// The boot that runs the program with these arguments. `input` is None if nothing goes in or
    /// out of the guest while the program runs: whatever reaches it from outside comes at a time of
    /// its own, and would be part of the figures.
    pub fn boot(
        &self,
        arguments: Vec<String>,
        acceleration: Acceleration,
        processors: u16,
        input: Option<Input>,
    ) -> Boot<'_> {
        let mut command = vec!["/evpoll/evpoll-bench".to_owned()];
        command.extend(arguments);
        let slow = u64::from(self.ctx.profile.slowness());
        Boot {
            name: "bench",
            task: Task {
                root: Root::Guest,
                command,
                environment: vec![("PATH".into(), "/bin".into())],
                folder: "/".into(),
                terminal: None,
                alive: 0,
                hold: input.is_none(),
                leaks: false,
            },
            programs: vec![rootfs::Program::new("evpoll-bench", self.program)],
            processors,
            memory: MEMORY.into(),
            kernel: &self.kernel.image,
            parameters: vec![],
            accelerations: vec![acceleration],
            input: input.unwrap_or(Input::Nothing),
            limits: Limits {
                ready: Duration::from_secs(READY * slow),
                silence: None,
                total: Some(Duration::from_secs(TOTAL * slow)),
                alive: None,
            },
        }
    }

    /// None if KVM turned out not to work and was not asked for.
    pub fn measure(&self, what: &Measure) -> anyhow::Result<Option<Vec<Figure>>> {
        let mut arguments = what.names.to_vec();
        if what.acceleration != Acceleration::Counting {
            arguments.push("--wall-clock".into());
        }
        let boot = self.boot(arguments, what.acceleration, what.processors, None);
        let mut output = Output::default();
        let step = Step::start(&what.title);
        let outcome = boot.run(self.ctx, &mut output)?;
        if outcome.end == End::NoSign && self.ctx.accel == Accel::Auto {
            drop(step);
            say("xtask: KVM gives no sign of life here, so there are no times");
            return Ok(None);
        }
        check(&outcome, &output)?;
        let text = String::from_utf8(output.stdout).context("evpoll-bench printed no text")?;
        let figures = bench::parse(&text)?;
        step.done(format!("{} figures", figures.len()));
        Ok(Some(figures))
    }
}

/// An error unless the program ended well, on a kernel that had nothing to complain about.
pub fn check(outcome: &Outcome, output: &Output) -> anyhow::Result<()> {
    let status = outcome.status(Some("the benchmarks"))?;
    if let End::Signal(_) = outcome.end {
        return Err(Fatal::Setup("interrupted".into()).into());
    }
    if status != 0 {
        let text = format!("evpoll-bench failed with status {status}: {}", output.why());
        return Err(Fatal::Failed(text).into());
    }
    if let Some(first) = outcome.reports.first().and_then(|report| report.first()) {
        let text = format!(
            "the kernel complained, figures of it mean nothing: {first}; see {}",
            outcome.console.display()
        );
        return Err(Fatal::Failed(text).into());
    }
    Ok(())
}

/// Keeps what the guest says.
#[derive(Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Why the program failed: the figures that it has none of, or its last words.
    fn why(&self) -> String {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let figures = bench::parse(&stdout).unwrap_or_default();
        let mut errors: Vec<String> = figures
            .into_iter()
            .filter_map(|figure| {
                let error = figure.error?;
                Some(format!("{}, {}: {error}", figure.name, figure.interface))
            })
            .collect();
        errors.dedup();
        let said = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST)..].join("; ");
        match (errors.is_empty(), last.is_empty()) {
            (false, _) => errors.join("; "),
            (true, false) => last,
            (true, true) => "it said nothing".to_owned(),
        }
    }
}

impl Sink for Output {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stderr.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_the_figures_that_are_missing_or_the_last_words() {
        let mut output = Output::default();
        assert_eq!(output.why(), "it said nothing");
        output.stderr = b"a\nb\nc\nd\n".to_vec();
        assert_eq!(output.why(), "b; c; d");
        output.stdout = b"{\"name\":\"ctl\",\"interface\":\"poll\",\"params\":{},\"value\":null,\
            \"unit\":\"x\",\"error\":\"an event is lost\"}\n"
            .to_vec();
        assert_eq!(output.why(), "ctl, poll: an event is lost");
    }
}
