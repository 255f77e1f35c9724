// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask tree DIR`: a git tree to work in.

use crate::cli;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::git;
use crate::packages;
use crate::progress::{output, read, run_logged, Step};
use crate::series::{self, Patch};
use crate::source::{self, Pristine};
use anyhow::Context;
use std::path::Path;
use xshell::{cmd, Shell};

pub fn main(ctx: &Ctx, args: cli::Tree) -> anyhow::Result<u8> {
    let dir = std::path::absolute(&args.dir)?;
    check_free(&dir)?;
    packages::ensure(ctx, &["git"])?;
    let pristine = source::pristine(ctx)?;
    let patches = series::patches(&ctx.root)?;

    let staging = files::staging(&dir)?;
    let mut step = Step::start(format!("making a tree of Linux {}", pristine.version));
    if let Err(error) = make(ctx, &pristine, &patches, &staging, &mut step) {
        files::remove(&staging)?;
        return Err(error);
    }
    files::place(&staging, &dir)?;
    step.done(format!("{} patches", patches.len()));
    println!("{}", dir.display());
    Ok(0)
}

fn make(
    ctx: &Ctx,
    pristine: &Pristine,
    patches: &[Patch],
    dir: &Path,
    step: &mut Step,
) -> anyhow::Result<()> {
    step.note("copying");
    let (shell, from) = (Shell::new()?, &pristine.dir);
    read(cmd!(shell, "cp -a --reflink=auto {from} {dir}"))
        .with_context(|| format!("copying the kernel source to {}", dir.display()))?;
    step.note("git add");
    output(git::as_user(dir).args(["init", "-q", "-b", "evpoll"]))?;
    output(git::as_user(dir).args(["-c", "core.looseCompression=1", "add", "-A", "-f"]))?;
    step.note("git commit");
    let mut cmd = git::as_user(dir);
    cmd.args(["commit", "-q", "--no-gpg-sign", "--no-verify", "-m"]);
    output(cmd.arg(format!("Linux {}", pristine.version)))?;
    if patches.is_empty() {
        return Ok(());
    }
    let mut cmd = git::as_user(dir);
    cmd.args(["am", "--no-gpg-sign"])
        .args(patches.iter().map(|patch| &patch.path));
    run_logged(cmd, &ctx.log("am"), step)
        .with_context(|| format!("the series does not apply to Linux {}", pristine.version))
}

fn check_free(dir: &Path) -> anyhow::Result<()> {
    if std::fs::symlink_metadata(dir).is_err() {
        return Ok(());
    }
    if dir.is_dir() && files::entries(dir)?.is_empty() {
        return Ok(());
    }
    let text = format!("{}: exists and is not an empty folder", dir.display());
    Err(Fatal::Setup(text).into())
}
