// SPDX-License-Identifier: GPL-2.0
//! The tests that need no guest: `cargo test` of the whole workspace, its output turned into
//! results.

use crate::ctx::Ctx;
use crate::ktap::{Case, Verdict};
use crate::progress::{run_logged_with, Step};
use anyhow::Context;
use std::process::Command;

pub fn run(ctx: &Ctx, filter: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&ctx.root)
        .args([
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--color",
            "never",
        ])
        .args(["--jobs", &ctx.jobs.to_string()])
        // What a test says is enough, and is shown among the results.
        .env("RUST_BACKTRACE", "0");
    if let Some(filter) = filter {
        cargo.args(["--", filter]);
    }
    let mut step = Step::start("host tests");
    let mut reader = Reader::default();
    let ended = run_logged_with(cargo, &ctx.log("host-tests"), |line| {
        step.note(line.trim());
        reader.line(line);
    });
    let cases = reader.cases;
    let failed = cases
        .iter()
        .filter(|case| case.verdict == Verdict::Failed)
        .count();
    if failed == 0 {
        // Not a test that failed: they do not compile, or one of the programs crashed.
        ended.context("host tests")?;
    }
    step.done(format!("{} ran, {failed} failed", cases.len()));
    Ok(cases)
}

/// Follows the output of `cargo test`.
#[derive(Default)]
struct Reader {
    /// What the tests now running are part of.
    package: String,
    cases: Vec<Case>,
    /// The failed test whose output is being shown.
    showing: Option<usize>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(package) = package(line) {
            self.package = package;
            self.showing = None;
        } else if let Some((name, verdict)) = result(line) {
            let name = self.full(&name);
            self.cases.push(Case {
                name,
                verdict,
                said: Vec::new(),
            });
        } else if let Some(name) = line.strip_prefix("---- ") {
            let name = name.trim_end_matches(" ----").trim_end_matches(" stdout");
            let name = self.full(name);
            self.showing = self.cases.iter().rposition(|case| case.name == name);
        } else if line == "failures:" || line.starts_with("test result:") {
            self.showing = None;
        } else if let Some(index) = self.showing.filter(|_| !line.trim().is_empty()) {
            self.cases[index].said.push(line.to_owned());
        }
    }

    /// As a name in KTAP: dots between its parts, and nothing that starts a directive.
    fn full(&self, name: &str) -> String {
        format!("{}.{}", self.package, name.replace("::", ".")).replace('#', " ")
    }
}

/// `Running unittests src/main.rs (target/debug/deps/xtask-0123456789abcdef)`, `Doc-tests evpoll`
fn package(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name}.doc"));
    }
    let path = line
        .strip_prefix("Running ")?
        .strip_suffix(')')?
        .rsplit_once('(')?
        .1;
    let file = path.rsplit('/').next()?;
    Some(
        file.rsplit_once('-')
            .map_or(file, |(name, _)| name)
            .to_owned(),
    )
}

/// `test a::b ... ok`
fn result(line: &str) -> Option<(String, Verdict)> {
    let (name, how) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let verdict = match how.split_once(", ").unwrap_or((how, "")) {
        ("ok", _) => Verdict::Passed,
        ("FAILED", _) => Verdict::Failed,
        ("ignored", why) => Verdict::Skipped(why.to_owned()),
        _ => return None,
    };
    Some((name.trim_end_matches(" - should panic").to_owned(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling xtask v0.1.0 (/x)
    Finished `test` profile [unoptimized + debuginfo] target(s) in 2.40s
     Running unittests src/main.rs (target/debug/deps/xtask-84ba7d9f6b2c4f52)

running 3 tests
test ktap::tests::plans ... ok
test files::tests::bad ... FAILED
test slow - should panic ... ignored, takes an hour

failures:

---- files::tests::bad stdout ----

thread 'files::tests::bad' panicked at xtask/src/files.rs:1:2:
left is not right

failures:
    files::tests::bad

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out
   Doc-tests kernel_rust

running 1 test
test kernel-rust/host/lib.rs - queue (line 3) ... ok
";

    #[test]
    fn results_and_the_output_of_failures() {
        let mut reader = Reader::default();
        OUTPUT.lines().for_each(|line| reader.line(line));
        let names: Vec<&str> = reader.cases.iter().map(|case| case.name.as_str()).collect();
        let expected = [
            "xtask.ktap.tests.plans",
            "xtask.files.tests.bad",
            "xtask.slow",
            "kernel_rust.doc.kernel-rust/host/lib.rs - queue (line 3)",
        ];
        assert_eq!(names, expected);
        let said = &reader.cases[1].said;
        assert_eq!(said.len(), 2);
        assert_eq!(said[1], "left is not right");
        assert_eq!(
            reader.cases[2].verdict,
            Verdict::Skipped("takes an hour".into())
        );
    }
}
