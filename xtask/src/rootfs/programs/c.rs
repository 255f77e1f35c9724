// SPDX-License-Identifier: GPL-2.0
//! C programs that the selftests start: each by every compiler for every ABI.

use super::abis::Tools;
use super::{kselftest, manual, Program};
use crate::ctx::Ctx;
use crate::files;
use crate::progress::{run_logged, Step};
use anyhow::Context;
use std::path::PathBuf;
use std::process::Command;

/// In `selftests/programs`.
const SOURCES: [&str; 2] = ["2002/stdin.c", "2002/server.c"];

struct Source {
    file: PathBuf,
    /// Where it finds headers besides ours. What compilers think of those does not matter.
    headers: Option<PathBuf>,
}

/// Their names are those of the source, the compiler and the ABI.
pub fn build(ctx: &Ctx, tools: &Tools, step: &mut Step) -> anyhow::Result<Vec<Program>> {
    let folder = ctx.root.join("target/guest/programs");
    files::make_dir(&folder)?;
    let sources = sources(ctx)?;
    let mut programs = Vec::new();
    for (compiler, command, abi, flag) in modes(tools) {
        for source in &sources {
            let stem = source.file.file_stem().context("a source without a name")?;
            let name = format!("{}-{compiler}-{abi}", stem.to_string_lossy());
            step.note(&name);
            let program = folder.join(&name);
            let staging = files::staging(&program)?;
            let mut cmd = Command::new(&command);
            cmd.args([flag, "-static", "-pthread", "-O2"])
                .args(["-Wall", "-Wextra", "-Werror"])
                .arg("-I")
                .arg(ctx.root.join("evpoll/include"));
            if let Some(headers) = &source.headers {
                cmd.arg("-isystem").arg(headers);
            }
            cmd.arg("-o").arg(&staging).arg(&source.file);
            run_logged(cmd, &ctx.log(&format!("program-{name}")), step)?;
            files::place(&staging, &program)?;
            programs.push(Program::new(format!("programs/{name}"), program));
        }
    }
    Ok(programs)
}

/// The programs of 2002, those in the manual, and the series' own kselftest.
fn sources(ctx: &Ctx) -> anyhow::Result<Vec<Source>> {
    let own = ctx.root.join("selftests/programs");
    let mut files: Vec<PathBuf> = SOURCES.iter().map(|name| own.join(name)).collect();
    let manual = ctx.root.join("target/guest/manual");
    files.extend(manual::extract(&ctx.root, &manual)?);
    let ours = files.into_iter().map(|file| Source {
        file,
        headers: None,
    });
    let kselftest = kselftest::extract(ctx, &ctx.root.join("target/guest/kselftest"))?;
    let theirs = kselftest.into_iter().map(|kselftest| Source {
        file: kselftest.source,
        headers: Some(kselftest.headers),
    });
    Ok(ours.chain(theirs).collect())
}

/// Compiler, its command, ABI, and the flag for that.
fn modes(tools: &Tools) -> Vec<(&'static str, String, &'static str, &'static str)> {
    let mut compilers = vec![("gcc", "gcc".to_owned())];
    if let Some(user_space) = &tools.user_space {
        compilers.push(("clang", user_space.clang.clone()));
    }
    let mut modes = Vec::new();
    for (compiler, command) in compilers {
        modes.push((compiler, command.clone(), "x86_64", "-m64"));
        for abi in &tools.abis {
            // Of the two, gcc is the one that Linux distributions build x32 with.
            if compiler == "gcc" || abi.name != "x32" {
                modes.push((compiler, command.clone(), abi.name, abi.flag));
            }
        }
    }
    modes
}
