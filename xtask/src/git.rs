// SPDX-License-Identifier: GPL-2.0
//! git, such that a series looks the same whoever makes it: without the user's configuration,
//! with every option that shapes a patch given.

use crate::files;
use crate::progress::output;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands for the committer where nobody will see it, or git knows of none.
const NAME: &str = "evpoll";
const EMAIL: &str = "evpoll@localhost";

/// Options of `git format-patch` that keep everything out of a patch that is not the series' own:
/// the commit it happens to be, the version of git.
const FORMAT: [&str; 9] = [
    "--numbered",
    "--zero-commit",
    "--no-signature",
    "--full-index",
    "--no-attach",
    "--diff-algorithm=myers",
    "--find-renames=50%",
    "--src-prefix=a/",
    "--dst-prefix=b/",
];

/// git in a folder, deaf to the configuration of the user and of the machine.
pub fn isolated(dir: &Path) -> Command {
    let mut cmd = here(dir);
    cmd.args([
        "-c",
        "safe.directory=*",
        "-c",
        "gc.auto=0",
        "-c",
        "core.autocrlf=false",
    ]);
    cmd.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        cmd.env(format!("GIT_{role}_NAME"), NAME)
            .env(format!("GIT_{role}_EMAIL"), EMAIL);
    }
    cmd
}

/// git in a folder as its user has configured it, except that it has an identity in any case.
pub fn as_user(dir: &Path) -> Command {
    let mut cmd = here(dir);
    if output(here(dir).args(["config", "user.email"])).is_err() {
        cmd.args([
            "-c",
            &format!("user.name={NAME}"),
            "-c",
            &format!("user.email={EMAIL}"),
        ]);
    }
    cmd
}

fn here(dir: &Path) -> Command {
    let mut cmd = Command::new("git");
    cmd.arg("-C").arg(dir).env("LC_ALL", "C");
    // It would go on repacking in the background, with the output that its caller waits for.
    cmd.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    // As set where this runs from a hook of another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        cmd.env_remove(name);
    }
    cmd
}

/// The commits since `base` as patches, by name and content, in order.
pub fn format_patches(
    dir: &Path,
    base: &str,
    scratch: &Path,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    files::remove(scratch)?;
    let mut cmd = isolated(dir);
    cmd.arg("format-patch")
        .args(FORMAT)
        .arg("-o")
        .arg(scratch)
        .arg(format!("{base}..HEAD"));
    output(&mut cmd).context("making patches of the commits")?;
    let made = |path: PathBuf| -> anyhow::Result<(String, Vec<u8>)> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok((name, std::fs::read(&path)?))
    };
    let patches = files::entries(scratch)?.into_iter().map(made).collect();
    files::remove(scratch)?;
    patches
}

/// What a cover letter says of the commits since `base`: who has written which, what they change, and
/// what they are for.
pub fn summary(dir: &Path, base: &str) -> anyhow::Result<String> {
    let range = format!("{base}..HEAD");
    let git = |args: &[&str]| {
        let mut cmd = isolated(dir);
        output(cmd.args(args)).context("summing up the commits")
    };
    let patches = git(&["shortlog", "-w72,2,4", &range])?;
    let options = ["--no-color", "--no-ext-diff", "--find-renames=50%"];
    let mut stat = vec!["diff", "--stat=72", "--summary"];
    stat.extend(options);
    stat.push(&range);
    let files = git(&stat)?;
    let kernel = git(&["log", "-1", "--format=%s", base])?;
    Ok(format!(
        "{}\n\n{}\n\nbase: {}\n",
        patches.trim_end(),
        files.trim_end(),
        kernel.trim()
    ))
}

/// The commit of the released kernel that a tree's commits stand on.
pub fn release_commit(dir: &Path) -> anyhow::Result<String> {
    let mut cmd = isolated(dir);
    cmd.args(["log", "-1", "--first-parent", "--format=%H", "-E"]);
    cmd.args(["--grep", r"^Linux [0-9]+\.[0-9]+(\.[0-9]+|-rc[0-9]+)?$"]);
    let found =
        output(&mut cmd).with_context(|| format!("reading the log of {}", dir.display()))?;
    let commit = found.trim();
    if commit.is_empty() {
        let text = format!("{}: no commit \"Linux 7.3.x\" to count from", dir.display());
        return Err(crate::error::Fatal::Setup(text).into());
    }
    Ok(commit.to_owned())
}

/// A file as of the last commit; nothing if it is not in it.
pub fn committed(dir: &Path, file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let out = isolated(dir)
        .arg("show")
        .arg(format!("HEAD:{}", file.display()))
        .output()?;
    Ok(out.status.success().then_some(out.stdout))
}
