// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask mutants`: puts known faults into the kernel, one at a time, and sees that the tests
//! that are there for them fail. A test that passes on such a kernel proves nothing on ours.

use crate::cli;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::progress::say;
use anyhow::Context;
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

pub fn main(ctx: &Ctx, args: cli::Mutants) -> anyhow::Result<u8> {
    let mutants = chosen(all(ctx)?, &args.names)?;
    let this = std::env::current_exe()?;
    let mut rows = Vec::new();
    for mutant in mutants {
        say(&format!("xtask: mutant {}", mutant.name));
        let verdict = attempt(ctx, &this, &mutant)?;
        rows.push((mutant, verdict));
    }
    let survived = rows.iter().filter(|(_, how)| how.is_none()).count();
    for (mutant, how) in &rows {
        let verdict = if how.is_some() { "found" } else { "NOT FOUND" };
        println!(
            "{:<24} {:<9} {:<8} {}",
            mutant.name, verdict, mutant.profile, mutant.test
        );
        for line in how.iter().flatten() {
            println!("    {line}");
        }
    }
    println!("{} found, {survived} not found", rows.len() - survived);
    Ok(u8::from(survived > 0))
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

/// Runs the test on a kernel with the fault. What it said when it failed; none if it passed.
fn attempt(ctx: &Ctx, this: &Path, mutant: &Mutant) -> anyhow::Result<Option<Vec<String>>> {
    let mut command = Command::new(this);
    command.args(["test", "--profile", &mutant.profile, &mutant.test]);
    command.arg("--mutation").arg(&mutant.path);
    command.arg("--jobs").arg(ctx.jobs.to_string());
    command.env("EVPOLL_CACHE", &ctx.cache);
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the tests")?;
    let said = String::from_utf8_lossy(&out.stdout);
    let ran = said
        .lines()
        .any(|line| result_of(line, &mutant.test).is_some());
    if !ran {
        let text = format!(
            "{}: {} did not run (exit status {}): cargo xtask test --profile {} --mutation {}",
            mutant.name,
            mutant.test,
            out.status,
            mutant.profile,
            mutant.path.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    Ok(failure(&said, &mutant.test))
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

/// The few lines before the test's failure; none if it did not fail.
fn failure(ktap: &str, test: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = ktap.lines().collect();
    let end = lines
        .iter()
        .position(|line| result_of(line, test) == Some(false))?;
    let said: Vec<String> = lines[..end]
        .iter()
        .rev()
        .map_while(|line| line.trim_start().strip_prefix("# "))
        .take(3)
        .map(str::to_owned)
        .collect();
    Some(said.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn found_is_what_fails_in_its_name() {
        let ktap = "    ok 1 a.b\n    # late\n    # at x:1\n    not ok 2 a.c\n";
        assert_eq!(failure(ktap, "a.b"), None);
        assert_eq!(failure(ktap, "a.c").unwrap(), ["late", "at x:1"]);
        assert_eq!(failure(ktap, "a"), None);
        assert_eq!(result_of("ok 3 i386.a.c", "a.c"), None);
    }

    #[test]
    fn unknown_names_are_refused() {
        let one = parse("m/one.patch".into(), "Profile: debug\nTest: x\n").unwrap();
        let error = chosen(vec![one], &["two".into()]).unwrap_err();
        assert!(error.to_string().contains("only one"));
    }
}
