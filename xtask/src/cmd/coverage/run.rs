// SPDX-License-Identifier: GPL-2.0
//! What is run to reach lines: programs of the guest, each in a boot of its own.

use super::code::Range;
use super::trace::Reached;
use crate::cmd::test::selftests;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::guest::{Boot, End, Sink};
use crate::kernel::Kernel;
use crate::ktap::{Line, Parser, Verdict};
use crate::progress::Step;
use crate::qemu::{Acceleration, Trace, Traced};
use crate::rootfs::TestPrograms;
use anyhow::Context;
use std::io::Write;
use std::path::Path;

/// A program that runs in the guest and speaks KTAP.
pub struct Run<'a> {
    /// What it is called on the terminal.
    title: &'static str,
    boot: Boot<'a>,
    /// How many results there will be, if that is known.
    results: Option<usize>,
}

/// The runs: the selftests, in all ABIs. Another program of the guest is another element.
pub fn runs<'a>(
    ctx: &Ctx,
    kernel: &'a Kernel,
    selftests: &Path,
    set: &TestPrograms,
    filter: Option<&str>,
) -> anyhow::Result<Vec<Run<'a>>> {
    let selected = selftests::list(selftests, ctx.profile, &set.abis, filter)?;
    if selected.is_empty() {
        let text = format!("no test's name contains {:?}", filter.unwrap_or_default());
        return Err(Fatal::Setup(text).into());
    }
    // With KVM there would be nothing to trace.
    let emulated = vec![Acceleration::Tcg];
    let boot = selftests::boot(ctx.profile, &kernel.image, set, filter, emulated);
    Ok(vec![Run {
        title: "the selftests",
        boot: Boot {
            name: "coverage",
            ..boot
        },
        results: Some(selected.len()),
    }])
}

impl Run<'_> {
    /// Boots, and adds what was reached. Returns the names of the tests that failed; an error is a
    /// guest that did not come to its end.
    pub fn boot(
        &self,
        ctx: &Ctx,
        ranges: &[Range],
        reached: &mut Reached,
    ) -> anyhow::Result<Vec<String>> {
        let trace = Trace {
            log: ctx.log("coverage-trace"),
            of: Traced::Translated(ranges.to_vec()),
        };
        files::remove(&trace.log)?;
        let mut live = Live {
            step: Step::start(format!("tracing {}", self.title)),
            results: self.results,
            parser: Parser::default(),
            line: Vec::new(),
            count: 0,
            failed: Vec::new(),
        };
        let outcome = self.boot.run_traced(ctx, &mut live, Some(&trace))?;
        if !matches!(outcome.end, End::Exited(0 | 1)) {
            let status = outcome.status(None)?;
            anyhow::bail!("{} ended with status {status}", self.title);
        }
        let Live {
            step,
            parser,
            count,
            mut failed,
            ..
        } = live;
        failed.extend(parser.finish());
        for report in &outcome.reports {
            let what = report.first().map_or("a complaint", String::as_str);
            failed.push(format!("the kernel: {what}"));
        }
        let log = files::read(&trace.log)?.with_context(|| {
            let log = trace.log.display();
            format!("QEMU has written no trace to {log}: does it have -d in_asm?")
        })?;
        reached.add(&String::from_utf8_lossy(&log))?;
        files::remove(&trace.log)?;
        step.done(format!("{count} results, {} failed", failed.len()));
        Ok(failed)
    }
}

/// Counts the results as they come.
struct Live {
    step: Step,
    results: Option<usize>,
    parser: Parser,
    line: Vec<u8>,
    count: usize,
    failed: Vec<String>,
}

impl Sink for Live {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let Line::Cases(cases) = self.parser.line(&String::from_utf8_lossy(&line)) else {
                continue;
            };
            for case in cases {
                self.count += 1;
                let of = self
                    .results
                    .map(|all| format!("/{all}"))
                    .unwrap_or_default();
                self.step.note(format!("{}{of} {}", self.count, case.name));
                if case.verdict == Verdict::Failed {
                    let said = [vec![case.name], case.said].concat();
                    self.failed.push(said.join("\n    "));
                }
            }
        }
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().write_all(bytes)
    }
}
