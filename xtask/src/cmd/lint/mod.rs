// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask lint`: a line for each finding, and a table of what was looked at.

mod audit;
mod documentation;
mod host;
mod objects;
mod patches;

use crate::cli;
use crate::ctx::{Ctx, Profile};
use crate::kernel::Build;
use crate::packages;
use crate::progress::{seconds, Step};
use crate::series;
use crate::source;
use crate::workbench::Workbench;
use std::path::PathBuf;
use std::time::Instant;

/// What a check looked at, and what it found.
struct Outcome {
    looked_at: String,
    findings: Vec<String>,
}

/// The lines that the series adds to a file, as it leaves that file.
type Added = Vec<(PathBuf, Vec<usize>)>;

pub fn main(ctx: &Ctx, _args: cli::Lint) -> anyhow::Result<u8> {
    packages::ensure(ctx, &packages::LINT)?;
    let patches = series::patches(&ctx.root)?;
    let added = added_lines(ctx, &patches)?;
    let build = Build::prepare_named(ctx, &format!("{}-lint", ctx.profile.name()))?;

    let mut table = Table::default();
    table.run("cargo fmt", |step| host::fmt(ctx, step))?;
    table.run("cargo clippy", |step| host::clippy(ctx, step))?;
    table.run("cargo doc", |step| host::doc(ctx, step))?;
    table.run("man pages", |_| host::man_pages(ctx))?;
    table.run("rustfmt", |_| patches::rustfmt(&build, &patches))?;
    table.run("checkpatch", |_| patches::checkpatch(&build, &patches))?;
    if patches.iter().any(|patch| !patch.touches.is_empty()) {
        let pristine = source::pristine(ctx)?;
        table.run("kernel-doc", |_| {
            documentation::kernel_doc(&build, &pristine, &added)
        })?;
        build.configure()?;
        table.run("kernel clippy", |step| {
            objects::clippy(&build, &added, step)
        })?;
        table.run("rustdoc", |step| {
            documentation::rustdoc(&build, &added, step)
        })?;
        table.run("sparse", |step| objects::sparse(&build, &added, step))?;
        drop(build);
        // Checks of arithmetic, which debug has, are panics. What is compiled is not lost: it is
        // where `test` builds the kernel, from the same.
        if ctx.profile == Profile::Release {
            let build = Build::prepare(ctx)?;
            build.configure()?;
            table.run("panics", |step| audit::panics(&build, step))?;
        }
    }
    table.print();
    Ok(u8::from(table.findings > 0))
}

fn added_lines(ctx: &Ctx, patches: &[series::Patch]) -> anyhow::Result<Added> {
    if patches.is_empty() {
        return Ok(Vec::new());
    }
    let bench = Workbench::set_up(ctx, patches)?;
    for patch in patches {
        bench.apply(patch)?;
    }
    Ok(series::added_lines(&bench.diff()?))
}

#[derive(Default)]
struct Table {
    rows: Vec<[String; 4]>,
    findings: usize,
}

impl Table {
    fn run(
        &mut self,
        name: &str,
        check: impl FnOnce(&mut Step) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut step = Step::start(name);
        let outcome = check(&mut step)?;
        let found = outcome.findings.len();
        step.done(count(found, "finding"));
        for finding in &outcome.findings {
            println!("{name}: {finding}");
        }
        self.findings += found;
        let result = if found == 0 {
            "ok".into()
        } else {
            count(found, "finding")
        };
        self.rows.push([
            name.into(),
            outcome.looked_at,
            result,
            seconds(start.elapsed()),
        ]);
        Ok(())
    }

    fn print(&self) {
        for [name, looked_at, result, time] in &self.rows {
            println!("{name:<14} {looked_at:<28} {result:<14} {time:>8}");
        }
    }
}

/// The counted noun: `1 file`, `2 files`, `3 patches`.
fn count(number: usize, noun: &str) -> String {
    let ending = match number {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_nouns() {
        assert_eq!(count(1, "patch"), "1 patch");
        assert_eq!(count(18, "patch"), "18 patches");
        assert_eq!(count(0, "finding"), "0 findings");
    }
}
