// SPDX-License-Identifier: GPL-2.0
//! The tests that need no guest: `cargo test` of the whole workspace, its output turned into
//! results.

use crate::ctx::Ctx;
use crate::ktap::{Case, Verdict};
use crate::progress::{run_logged_with, Step};
use anyhow::Context;
use std::collections::HashSet;
use std::process::Command;

pub fn run(ctx: &Ctx, filter: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let mut step = Step::start("host tests");
    let mut reader = Reader::default();
    let ended = match filter {
        None => follow(ctx, &mut step, &mut reader, "host-tests", &[]),
        Some(filter) => selected(ctx, &mut step, &mut reader, filter)?,
    };
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

/// Runs those that have this in their names as they are printed, which are not the names that cargo
/// knows: so it lists all of them first, which builds all that is run then.
fn selected(
    ctx: &Ctx,
    step: &mut Step,
    reader: &mut Reader,
    filter: &str,
) -> anyhow::Result<anyhow::Result<()>> {
    let mut list = Reader::default();
    follow(ctx, step, &mut list, "host-tests-list", &["--", "--list"]).context("host tests")?;
    let selection = Selection::new(&list.cases, &list.raw, filter);
    let mut ended = Ok(());
    for (log, arguments) in [
        ("host-tests", selection.of_programs()),
        ("host-doc-tests", selection.of_documentation()),
    ] {
        if let Some(arguments) = arguments {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ended = ended.and(follow(ctx, step, reader, log, &arguments));
        }
    }
    // cargo cannot be told a test of one program alone.
    reader
        .cases
        .retain(|case| selection.full.contains(&case.name));
    Ok(ended)
}

fn follow(
    ctx: &Ctx,
    step: &mut Step,
    reader: &mut Reader,
    log: &str,
    arguments: &[&str],
) -> anyhow::Result<()> {
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
        .args(arguments)
        // What a test says is enough, and is shown among the results.
        .env("RUST_BACKTRACE", "0");
    run_logged_with(cargo, &ctx.log(log), |line| {
        step.note(line.trim());
        reader.line(line);
    })
}

/// The tests that a filter selects.
struct Selection {
    /// Their names as they are printed.
    full: HashSet<String>,
    /// Their names in their programs.
    programs: Vec<String>,
    /// The files whose documentation has them.
    documentation: Vec<String>,
}

impl Selection {
    /// `raw` are the names of the cases in their programs.
    fn new(cases: &[Case], raw: &[String], filter: &str) -> Selection {
        let filter = dotted(filter);
        let mut selection = Selection {
            full: HashSet::new(),
            programs: Vec::new(),
            documentation: Vec::new(),
        };
        for (case, raw) in cases.iter().zip(raw) {
            if !case.name.contains(&filter) {
                continue;
            }
            selection.full.insert(case.name.clone());
            let (list, name) = match raw.split_once(" - ") {
                // rustdoc takes words, none of which may have a space.
                Some((file, _)) => (&mut selection.documentation, file),
                None => (&mut selection.programs, raw.as_str()),
            };
            if !list.iter().any(|have| have == name) {
                list.push(name.to_owned());
            }
        }
        selection
    }

    /// What cargo is to be told, if there are any.
    fn of_programs(&self) -> Option<Vec<String>> {
        let options = ["--tests", "--", "--exact"].map(str::to_owned);
        let named = || [&options[..], &self.programs].concat();
        (!self.programs.is_empty()).then(named)
    }

    fn of_documentation(&self) -> Option<Vec<String>> {
        let options = ["--doc", "--"].map(str::to_owned);
        let named = || [&options[..], &self.documentation].concat();
        (!self.documentation.is_empty()).then(named)
    }
}

/// As a name in KTAP: dots between its parts, and nothing that starts a directive.
fn dotted(name: &str) -> String {
    name.replace("::", ".").replace('#', " ")
}

/// Follows the output of `cargo test`.
#[derive(Default)]
struct Reader {
    /// What the tests now running are part of.
    package: String,
    cases: Vec<Case>,
    /// The name of each case in its program.
    raw: Vec<String>,
    /// The failed test whose output is being shown.
    showing: Option<usize>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(package) = package(line) {
            self.package = package;
            self.showing = None;
        } else if let Some((name, verdict)) = result(line).or_else(|| listed(line)) {
            self.cases.push(Case {
                name: self.full(&name),
                verdict,
                said: Vec::new(),
            });
            self.raw.push(name);
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

    fn full(&self, name: &str) -> String {
        format!("{}.{}", self.package, dotted(name))
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
    // Notes behind the name, which are no part of it where it is listed or its output is shown.
    let notes = [" - should panic", " - compile fail", " - compile"];
    let name = notes
        .iter()
        .find_map(|note| name.strip_suffix(note))
        .unwrap_or(name);
    Some((name.to_owned(), verdict))
}

/// `a::b: test`, in a list. Nothing was run.
fn listed(line: &str) -> Option<(String, Verdict)> {
    let name = line.strip_suffix(": test")?;
    Some((name.to_owned(), Verdict::Skipped("only listed".to_owned())))
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
    const LIST: &str = "\
     Running unittests src/main.rs (target/debug/deps/xtask-84ba7d9f6b2c4f52)
ktap::tests::plans: test
files::tests::bad: test

2 tests, 0 benchmarks
     Running unittests src/lib.rs (target/debug/deps/evpoll-84ba7d9f6b2c4f52)
files::tests::bad: test
   Doc-tests evpoll
evpoll/src/queue.rs - queue::Queue::add (line 3): test
evpoll/src/queue.rs - queue::Queue::wait (line 9): test
";

    fn select(filter: &str) -> Selection {
        let mut list = Reader::default();
        LIST.lines().for_each(|line| list.line(line));
        Selection::new(&list.cases, &list.raw, filter)
    }

    #[test]
    fn a_test_is_selected_by_its_name_as_it_is_printed() {
        let one = select("xtask.files.tests.bad");
        assert_eq!(one.full.len(), 1);
        let expected = ["--tests", "--", "--exact", "files::tests::bad"];
        assert_eq!(one.of_programs().unwrap(), expected);
        assert_eq!(one.of_documentation(), None);

        let both = select("files::tests");
        assert_eq!(both.full.len(), 2);
        assert_eq!(both.programs, ["files::tests::bad"]);

        let written = select("evpoll.doc.evpoll/src/queue.rs - queue.Queue.add (line 3)");
        assert_eq!(written.full.len(), 1);
        assert_eq!(written.of_programs(), None);
        let expected = ["--doc", "--", "evpoll/src/queue.rs"];
        assert_eq!(written.of_documentation().unwrap(), expected);

        let none = select("no such test");
        assert!(none.of_programs().is_none() && none.of_documentation().is_none());
    }

    #[test]
    fn what_is_listed_and_what_ran_have_the_same_name() {
        let name = |line: &str| result(line).unwrap().0;
        let listed = listed("src/a.rs - a (line 3): test").unwrap().0;
        for note in ["", " - compile", " - compile fail"] {
            assert_eq!(
                name(&format!("test src/a.rs - a (line 3){note} ... ok")),
                listed
            );
        }
    }
}
