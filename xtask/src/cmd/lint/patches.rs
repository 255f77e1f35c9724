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
        cmd.args(["--strict", "--terse", "--showfile", "--show-types"]);
        cmd.args(["--no-summary", "--color=never"]);
        if maintained {
            // It asks of each patch by itself whether MAINTAINERS knows the new files.
            cmd.args(["--ignore", "FILE_PATH_CHANGES"]);
        }
        cmd.arg(&patch.path).current_dir(tree).stdin(Stdio::null());
        let out = cmd.output().context("cannot run perl")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let told = told(&said);
        findings.extend(
            told.iter()
                .filter(|line| !accepted(line))
                .map(|line| format!("{}: {line}", patch.name())),
        );
        if told.is_empty() && !out.status.success() {
            let last = String::from_utf8_lossy(&out.stderr).into_owned();
            anyhow::bail!(
                "checkpatch itself failed: {}",
                last.lines().last().unwrap_or_default()
            );
        }
    }
    Ok(Outcome {
        looked_at: count(patches.len(), "patch"),
        findings,
    })
}

/// The findings among what checkpatch says.
fn told(said: &str) -> Vec<&str> {
    let levels = ["ERROR:", "WARNING:", "CHECK:"];
    said.lines()
        .filter(|line| levels.iter().any(|level| line.contains(level)))
        .collect()
}

/// What checkpatch dislikes everywhere in the kernel. Definitions of tracepoints have a style of
/// their own: what they consist of stands in brackets that open at the end of a line. And ENOSYS
/// means that there is no such system call, which is what a selftest asks.
fn accepted(line: &str) -> bool {
    const ACCEPTED: [(&str, &[&str]); 2] = [
        (
            "include/trace/events/",
            &["CHECK:PARENTHESIS_ALIGNMENT:", "CHECK:OPEN_ENDED_LINE:"],
        ),
        ("tools/testing/selftests/", &["WARNING:ENOSYS:"]),
    ];
    ACCEPTED.iter().any(|(folder, types)| {
        line.starts_with(folder) && types.iter().any(|kind| line.contains(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tracepoints_may_be_formatted_as_tracepoints() {
        let said = "include/trace/events/x.h:3: CHECK:OPEN_ENDED_LINE: Lines should not\n\
                    fs/x.c:3: CHECK:OPEN_ENDED_LINE: Lines should not\n\
                    include/trace/events/x.h:9: WARNING:LONG_LINE: x\n\
                    has style problems, please review.\n";
        let told = told(said);
        assert_eq!(told.len(), 3);
        let left: Vec<&str> = told.into_iter().filter(|line| !accepted(line)).collect();
        assert_eq!(left.len(), 2);
        assert!(left[0].starts_with("fs/x.c") && left[1].contains("LONG_LINE"));
    }

    #[test]
    fn only_selftests_may_ask_for_enosys() {
        assert!(accepted(
            "tools/testing/selftests/x/x.c:3: WARNING:ENOSYS: ENOSYS means"
        ));
        assert!(!accepted(
            "tools/testing/selftests/x/x.c:3: WARNING:LONG_LINE: x"
        ));
        assert!(!accepted("fs/x.c:3: WARNING:ENOSYS: ENOSYS means"));
    }

    #[test]
    fn only_the_file_itself_counts() {
        let said = "Diff in /t/fs/a.rs:12:\n-x\nDiff in /t/fs/b.rs:3:\nDiff in /t/fs/a.rs:40:\n";
        assert_eq!(diff_lines(said, "/t/fs/a.rs"), [12, 40]);
    }
}
