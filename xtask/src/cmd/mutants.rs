// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask mutants`: puts known faults into the kernel, one at a time, and sees that the tests
//! that are there for them fail. A test that passes on such a kernel proves nothing on ours.
//!
//! Only a failure of the named test itself counts: by a check of its own, by what the kernel said
//! while it ran, or because the kernel died in it. That something took too long, or could not be
//! set up, says nothing about the fault.

use crate::cli;
use crate::ctx::{Accel, Ctx, Profile};
use crate::error::Fatal;
use crate::files;
use crate::progress::say;
use anyhow::Context;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A fault: a patch on top of the series.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    path: PathBuf,
    /// The profile in which it shows.
    profile: String,
    /// The test that has to fail.
    test: String,
}

/// What came of one.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The test failed, and said this.
    Found(Vec<String>),
    /// It passed.
    Survived,
    /// Neither, for this reason.
    Unclear(String),
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Verdict::Found(_) => "found",
            Verdict::Survived => "NOT FOUND",
            Verdict::Unclear(_) => "UNCLEAR",
        }
    }
}

pub fn main(ctx: &Ctx, args: cli::Mutants) -> anyhow::Result<u8> {
    refuse(ctx)?;
    let mutants = chosen(all(ctx)?, &args.names)?;
    let this = std::env::current_exe()?;
    let mut rows = Vec::new();
    for mutant in mutants {
        say(&format!("xtask: mutant {}", mutant.name));
        let verdict = attempt(ctx, &this, &mutant)?;
        rows.push((mutant, verdict));
    }
    let mut unclear = Vec::new();
    for (mutant, verdict) in &rows {
        println!(
            "{:<24} {:<9} {:<8} {}",
            mutant.name,
            verdict.name(),
            mutant.profile,
            mutant.test
        );
        match verdict {
            Verdict::Found(said) => said.iter().for_each(|line| println!("    {line}")),
            Verdict::Survived => {}
            Verdict::Unclear(why) => {
                println!("    {why}; {}", again(ctx, mutant));
                unclear.push(mutant.name.as_str());
            }
        }
    }
    let count = |name| rows.iter().filter(|(_, how)| how.name() == name).count();
    let survived = count(Verdict::Survived.name());
    let found = rows.len() - survived - unclear.len();
    println!("{found} found, {survived} not found");
    if survived == 0 && !unclear.is_empty() {
        let text = format!("nothing can be said of {}: see above", unclear.join(", "));
        return Err(Fatal::Setup(text).into());
    }
    Ok(u8::from(survived > 0))
}

/// An error for options that would have no effect.
fn refuse(ctx: &Ctx) -> anyhow::Result<()> {
    if ctx.kernel.is_none() && ctx.mutation.is_none() && ctx.profile == Profile::Release {
        return Ok(());
    }
    let text =
        "mutants are patches on top of the series, each for a profile of its own: leave out \
                --kernel, --mutation and --profile";
    Err(Fatal::Setup(text.into()).into())
}

fn all(ctx: &Ctx) -> anyhow::Result<Vec<Mutant>> {
    let folder = ctx.root.join("selftests/mutants");
    files::entries(&folder)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .map(|path| {
            let text = files::read_text(&path)?;
            parse(path, &text)
        })
        .collect()
}

fn parse(path: PathBuf, text: &str) -> anyhow::Result<Mutant> {
    let field = |name: &str| {
        text.lines()
            .take_while(|line| !line.starts_with("diff --git "))
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(|value| value.trim().to_owned())
            .with_context(|| format!("{} has no line \"{name}: …\"", path.display()))
    };
    let (profile, test) = (field("Profile")?, field("Test")?);
    let name = path.file_stem().unwrap_or_default();
    Ok(Mutant {
        name: name.to_string_lossy().into_owned(),
        path,
        profile,
        test,
    })
}

fn chosen(all: Vec<Mutant>, names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    let known: Vec<String> = all.iter().map(|mutant| mutant.name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let text = format!("there is no mutant {name:?}, only {}", known.join(", "));
        return Err(Fatal::Setup(text).into());
    }
    let wanted = |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// Runs the test on a kernel with the fault.
fn attempt(ctx: &Ctx, this: &Path, mutant: &Mutant) -> anyhow::Result<Verdict> {
    let mut command = Command::new(this);
    command.args(arguments(ctx, mutant));
    command.arg("--jobs").arg(ctx.jobs.to_string());
    command.args(ctx.verbose.then_some("--verbose"));
    command.env("EVPOLL_CACHE", &ctx.cache);
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the tests")?;
    // Passed, failed, or the guest hung or crashed; anything else stopped before there was a guest.
    if !matches!(out.status.code(), Some(0 | 1 | 3)) {
        let text = format!(
            "{}: {} did not run ({}): {}",
            mutant.name,
            mutant.test,
            out.status,
            again(ctx, mutant)
        );
        return Err(Fatal::Setup(text).into());
    }
    let said = String::from_utf8_lossy(&out.stdout);
    Ok(judge(&said, &mutant.test))
}

/// What runs it, and can be typed.
fn arguments(ctx: &Ctx, mutant: &Mutant) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["test", "--profile", &mutant.profile, &mutant.test]
        .map(OsString::from)
        .into();
    words.push("--mutation".into());
    words.push(mutant.path.clone().into());
    if ctx.accel != Accel::Auto {
        words.extend(["--accel", ctx.accel.name()].map(OsString::from));
    }
    words
}

fn again(ctx: &Ctx, mutant: &Mutant) -> String {
    let words = arguments(ctx, mutant);
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Why a test fails that says nothing of the fault: there was no kernel or guest to use. As the
/// selftests and the harness say it.
const UNUSABLE: [&str; 4] = [
    "this kernel has no evpoll",
    "the guest could not be set up: ",
    "the kernel printed nothing at all",
    "the guest ended without saying how",
];
/// The same of a machine that is too slow; but with a complaint of the kernel, this is what became
/// of it.
const LATE: [&str; 2] = ["no end within ", "the guest hung: "];

/// What the output of `test` says about the fault.
fn judge(ktap: &str, test: &str) -> Verdict {
    let lines: Vec<&str> = ktap.lines().collect();
    let results = lines.iter().enumerate();
    let mut results = results.filter_map(|(at, line)| Some((at, result_of(line, test)?)));
    let Some((end, passed)) = results.next() else {
        return Verdict::Unclear(format!("{test} did not run"));
    };
    if passed {
        return match lines[end].contains("# SKIP") {
            true => Verdict::Unclear(format!("{test} was skipped")),
            false => Verdict::Survived,
        };
    }
    // A guest that does not even boot is told as the end of the first test.
    if !lines[..end].iter().any(|line| is_start(line)) {
        return Verdict::Unclear(format!("the guest ended before {test}"));
    }
    let said: Vec<&str> = lines[..end]
        .iter()
        .rev()
        .map_while(|line| line.trim_start().strip_prefix("# "))
        .filter(|line| !line.starts_with("Subtest: "))
        .collect();
    let has = |marks: &[&str]| {
        let marked = |line: &&&str| marks.iter().any(|mark| line.contains(mark));
        said.iter().find(marked).map(|line| (*line).to_owned())
    };
    let complained = has(&["the kernel complains: "]).is_some()
        || lines
            .iter()
            .any(|line| result_of(line, "console") == Some(false));
    if let Some(why) = has(&UNUSABLE) {
        return Verdict::Unclear(why);
    }
    if let Some(why) = has(&LATE).filter(|_| !complained) {
        return Verdict::Unclear(why);
    }
    let last = said.iter().take(3).rev();
    Verdict::Found(last.map(|line| (*line).to_owned()).collect())
}

/// Whether the line begins the results from the guest.
fn is_start(line: &str) -> bool {
    line.trim() == "# Subtest: guest"
}

/// Whether the line is a result of the test, and if so whether it passed.
fn result_of(line: &str, test: &str) -> Option<bool> {
    let line = line.trim_start();
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let name = rest.split_whitespace().nth(1)?;
    (name == test).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_header_says_where_it_shows() {
        let text = "Fault 2: x\n\nProfile: debug\nTest: closing.a\n\ndiff --git a/x b/x\n";
        let mutant = parse("m/close.patch".into(), text).unwrap();
        assert_eq!(
            (mutant.name.as_str(), mutant.profile.as_str()),
            ("close", "debug")
        );
        assert_eq!(mutant.test, "closing.a");
        let error = parse("m/close.patch".into(), "Test: x\n").unwrap_err();
        assert!(error.to_string().contains("Profile"));
    }

    /// The output of `test` with these lines from the guest, and this result of the console.
    fn output(guest: &str, console: &str) -> String {
        let host = "KTAP version 1\n1..4\nok 1 host # SKIP no test is selected\n";
        let guest: String = guest.lines().map(|line| format!("    {line}\n")).collect();
        format!("{host}{guest}not ok 2 guest\n{console} 3 console\n")
    }

    const BEGIN: &str = "KTAP version 1\n# Subtest: guest\n1..2\n";

    fn verdict(guest: &str, console: &str) -> Verdict {
        judge(&output(&format!("{BEGIN}{guest}"), console), "a.c")
    }

    fn is_unclear(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Unclear(_))
    }

    #[test]
    fn found_is_what_fails_in_its_name() {
        let guest = "ok 1 a.b\n# late\n# at x:1\nnot ok 2 a.c\n";
        let found = Verdict::Found(vec!["late".into(), "at x:1".into()]);
        assert_eq!(verdict(guest, "ok"), found);
        assert_eq!(verdict("not ok 1 a.b\nok 2 a.c\n", "ok"), Verdict::Survived);
        // A complaint that came in another test.
        assert_eq!(verdict("ok 1 a.c\n", "not ok"), Verdict::Survived);
        assert!(is_unclear(&verdict("not ok 1 i386.a.c\n", "ok")));
        assert!(is_unclear(&verdict("ok 1 a.c # SKIP no such file\n", "ok")));
        assert_eq!(result_of("ok 3 i386.a.c", "a.c"), None);
    }

    #[test]
    fn what_the_kernel_says_during_the_test_counts() {
        let guest = "# the kernel complains: BUG: KASAN: use-after-free\nnot ok 1 a.c\n";
        assert!(matches!(verdict(guest, "not ok"), Verdict::Found(said) if said.len() == 1));
        let guest = "# the kernel panicked: Oops\nnot ok 1 a.c\n";
        assert!(matches!(verdict(guest, "not ok"), Verdict::Found(_)));
        // The guest crashed in another test.
        let guest = "# the kernel panicked: Oops\nnot ok 1 i386.a.c\n";
        assert!(is_unclear(&verdict(guest, "not ok")));
    }

    #[test]
    fn what_is_late_counts_if_the_kernel_complained() {
        for why in [
            "no end within 10000 ms",
            "the guest hung: no output in 240 s",
        ] {
            let guest = format!("# {why}\nnot ok 1 a.c\n");
            assert_eq!(verdict(&guest, "ok"), Verdict::Unclear(why.into()));
            assert!(matches!(verdict(&guest, "not ok"), Verdict::Found(_)));
        }
    }

    #[test]
    fn a_guest_that_cannot_be_used_finds_nothing() {
        for why in UNUSABLE {
            let guest = format!("# {why}\nnot ok 1 a.c\n");
            assert!(is_unclear(&verdict(&guest, "not ok")), "{why}");
        }
        // It did not come as far as the tests.
        let text = output("# the kernel panicked: no init\nnot ok 1 a.c\n", "not ok");
        assert!(is_unclear(&judge(&text, "a.c")));
        assert!(is_unclear(&judge("", "a.c")));
    }

    fn ctx(options: &[&str]) -> Ctx {
        let words = ["xtask", "mutants"].iter().chain(options);
        let cli = cli::Cli::try_parse_from(words).unwrap();
        Ctx::resolve(cli.common).unwrap()
    }

    #[test]
    fn the_options_are_passed_on() {
        let mutant = parse("m/one.patch".into(), "Profile: debug\nTest: a.c\n").unwrap();
        let expected = "cargo xtask test --profile debug a.c --mutation m/one.patch --accel kvm";
        assert_eq!(again(&ctx(&["--accel", "kvm"]), &mutant), expected);
        let words = expected.split(' ').skip(1);
        cli::Cli::try_parse_from(words).unwrap();
    }

    #[test]
    fn options_without_an_effect_are_refused() {
        assert!(refuse(&ctx(&["--accel", "tcg", "--verbose", "--jobs", "2"])).is_ok());
        assert!(refuse(&ctx(&["--profile", "debug"])).is_err());
        assert!(refuse(&ctx(&["--mutation", "x.patch"])).is_err());
    }

    #[test]
    fn unknown_names_are_refused() {
        let one = parse("m/one.patch".into(), "Profile: debug\nTest: x\n").unwrap();
        let error = chosen(vec![one], &["two".into()]).unwrap_err();
        assert!(error.to_string().contains("only one"));
    }
}
