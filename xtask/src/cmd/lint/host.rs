// SPDX-License-Identifier: GPL-2.0
//! The code that runs outside of the kernel.

use super::Outcome;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::progress::Step;
use anyhow::Context;
use std::process::{Command, Output, Stdio};

pub fn fmt(ctx: &Ctx, _step: &mut Step) -> anyhow::Result<Outcome> {
    let out = cargo(ctx, &["fmt", "--all", "--", "--check", "-l"])?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let root = format!("{}/", ctx.root.display());
    let findings: Vec<String> = text
        .lines()
        .map(|file| {
            format!(
                "{}: cargo fmt would change it",
                file.trim_start_matches(&root)
            )
        })
        .collect();
    conclude(&out, findings, "rustup component add rustfmt")
}

pub fn clippy(ctx: &Ctx, _step: &mut Step) -> anyhow::Result<Outcome> {
    let mut args = vec!["clippy", "--workspace", "--all-targets", "--keep-going"];
    args.extend(["--message-format", "short", "--", "-D", "warnings"]);
    let out = cargo(ctx, &args)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    conclude(&out, short_messages(&text), "rustup component add clippy")
}

/// What rustdoc says about the library for Rust programs, and about its server: links that lead
/// nowhere, for example.
pub fn doc(ctx: &Ctx, _step: &mut Step) -> anyhow::Result<Outcome> {
    let mut cmd = Command::new("cargo");
    cmd.args(["doc", "--package", "evpoll", "--package", "evhttpd"])
        .args(["--lib", "--no-deps", "--keep-going"])
        .env("CARGO_TERM_COLOR", "never")
        .env("RUSTDOCFLAGS", "-D warnings")
        .current_dir(&ctx.root)
        .stdin(Stdio::null());
    let out = cmd.output().context("cannot run cargo")?;
    let findings = doc_messages(&String::from_utf8_lossy(&out.stderr));
    let mut outcome = conclude(&out, findings, "install rustdoc")?;
    outcome.looked_at = "evpoll and evhttpd".into();
    Ok(outcome)
}

/// Each message with its place, which is on the line below.
fn doc_messages(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let found = lines.windows(2).filter_map(|pair| {
        let place = pair[1].strip_prefix("--> ")?;
        Some(format!("{place}: {}", pair[0]))
    });
    found.collect()
}

/// What mandoc says about the manual pages, from a warning on: below that is a matter of style, in
/// which man-pages(7) is of another opinion.
pub fn man_pages(ctx: &Ctx) -> anyhow::Result<Outcome> {
    let folder = ctx.root.join("evpoll/man");
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        pages.push(entry?.path());
    }
    pages.sort();
    let mut cmd = Command::new("mandoc");
    cmd.args(["-T", "lint", "-W", "warning"]).args(&pages);
    let out = cmd.output().context("cannot run mandoc")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let root = format!("mandoc: {}/", ctx.root.display());
    let findings = text
        .lines()
        .map(|line| line.trim_start_matches(&root).to_owned())
        .collect();
    let mut outcome = conclude(&out, findings, "install mandoc")?;
    outcome.looked_at = super::count(pages.len(), "page");
    Ok(outcome)
}

fn cargo(ctx: &Ctx, args: &[&str]) -> anyhow::Result<Output> {
    let mut cmd = Command::new("cargo");
    cmd.args(args).current_dir(&ctx.root).stdin(Stdio::null());
    cmd.output().context("cannot run cargo")
}

/// The `file:line:column: level: message` lines among what cargo says, each once: a file can be
/// part of several targets.
fn short_messages(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let message = [": error", ": warning"]
            .iter()
            .any(|level| line.contains(level));
        let placed = line
            .split(' ')
            .next()
            .is_some_and(|place| place.matches(':').count() >= 3);
        if message && placed && !found.iter().any(|have| have == line) {
            found.push(line.to_owned());
        }
    }
    found
}

/// A tool that fails without a finding did not run.
fn conclude(out: &Output, findings: Vec<String>, hint: &str) -> anyhow::Result<Outcome> {
    if findings.is_empty() && !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = said
            .lines()
            .find(|line| line.contains("error"))
            .unwrap_or("it says nothing");
        let text = format!("the check itself failed: {line} (if it is missing: {hint})");
        return Err(Fatal::Setup(text).into());
    }
    Ok(Outcome {
        looked_at: "workspace".into(),
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_rustdoc_have_their_place_below() {
        let text = " Documenting x v0.1.0 (/x)\nerror: unresolved link to `Nothing`\n --> x/src/a.rs:3:5\n\
                    |\n3 | /// [`Nothing`]\nerror: could not document `x`\n";
        let found = doc_messages(text);
        assert_eq!(
            found,
            ["x/src/a.rs:3:5: error: unresolved link to `Nothing`"]
        );
    }

    #[test]
    fn messages_are_told_from_the_rest() {
        let text =
            "    Checking x v0.1.0\nx/src/a.rs:3:5: error: unused\nx/src/a.rs:3:5: error: unused\n\
                    error: could not compile `x` (bin \"x\") due to 1 previous error\n";
        assert_eq!(short_messages(text), ["x/src/a.rs:3:5: error: unused"]);
    }
}
