// SPDX-License-Identifier: GPL-2.0
//! What can be said about the series without compiling it.

use super::{count, Outcome};
use crate::kernel::Build;
use crate::series::{self, Patch};
use crate::toolchain::plain;
use anyhow::Context;
use std::process::{Command, Stdio};

/// The formatting of every Rust file that the series touches, by the kernel's rules.
pub fn rustfmt(build: &Build, patches: &[Patch]) -> anyhow::Result<Outcome> {
    let tree = &build.tree.dir;
    let mut looked_at = 0;
    let mut findings = Vec::new();
    for file in series::touched(patches) {
        let path = tree.join(&file);
        if file.extension().is_none_or(|extension| extension != "rs") || !path.is_file() {
            continue;
        }
        looked_at += 1;
        let mut cmd = Command::new(&build.tools.rustfmt);
        cmd.args(["--check", "--edition", "2021", "--config-path"])
            .arg(tree.join(".rustfmt.toml"));
        let out = plain(cmd.arg(&path))
            .stdin(Stdio::null())
            .output()
            .context("cannot run rustfmt")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut lines = diff_lines(&said, &path.to_string_lossy());
        if lines.is_empty() && !out.status.success() && !said.contains("Diff in ") {
            lines.push(0);
        }
        let told = lines
            .iter()
            .map(|line| format!("{}:{line}: not formatted", file.display()));
        findings.extend(told);
    }
    Ok(Outcome {
        looked_at: count(looked_at, "Rust file"),
        findings,
    })
}

/// Where rustfmt would change this very file; it also follows the file's modules.
fn diff_lines(said: &str, path: &str) -> Vec<usize> {
    said.lines()
        .filter_map(|line| {
            line.strip_prefix("Diff in ")?
                .strip_prefix(path)?
                .strip_prefix(':')
        })
        .filter_map(|rest| rest.trim_end_matches(':').parse().ok())
        .collect()
}

pub fn checkpatch(build: &Build, patches: &[Patch]) -> anyhow::Result<Outcome> {
    let tree = &build.tree.dir;
    let mut findings = Vec::new();
    let maintained = patches
        .iter()
        .any(|patch| patch.touches_file("MAINTAINERS".as_ref()));
    for patch in patches {
        let mut cmd = Command::new("perl");
        cmd.arg(tree.join("scripts/checkpatch.pl"))
            .arg(format!("--root={}", tree.display()));
        cmd.args(["--terse", "--show-types", "--no-summary", "--color=never"]);
        if maintained {
            // It asks of each patch by itself whether MAINTAINERS knows the new files.
            cmd.args(["--ignore", "FILE_PATH_CHANGES"]);
        }
        cmd.arg(&patch.path).current_dir(tree).stdin(Stdio::null());
        let out = cmd.output().context("cannot run perl")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let folder = format!("{}/", patch.path.parent().unwrap_or(tree).display());
        let before = findings.len();
        findings.extend(
            said.lines()
                .filter(|line| line.contains("ERROR:") || line.contains("WARNING:"))
                .map(|line| line.replace(&folder, "patches/")),
        );
        if findings.len() == before && !out.status.success() {
            let last = String::from_utf8_lossy(&out.stderr).into_owned();
            anyhow::bail!(
                "checkpatch itself failed: {}",
                last.lines().last().unwrap_or_default()
            );
        }
    }
    Ok(Outcome {
        looked_at: count(patches.len(), "patch").replace("patchs", "patches"),
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_itself_counts() {
        let said = "Diff in /t/fs/a.rs:12:\n-x\nDiff in /t/fs/b.rs:3:\nDiff in /t/fs/a.rs:40:\n";
        assert_eq!(diff_lines(said, "/t/fs/a.rs"), [12, 40]);
    }
}
