// SPDX-License-Identifier: GPL-2.0
//! C programs that the selftests start: each by every compiler for every ABI.

use super::abis::Tools;
use super::Program;
use crate::ctx::Ctx;
use crate::files;
use crate::progress::{run_logged, Step};
use std::process::Command;

/// In `selftests/programs`: folders and the programs in them.
const SOURCES: [(&str, &str); 2] = [("2002", "stdin"), ("2002", "server")];

/// Their names are those of the source, the compiler and the ABI.
pub fn build(ctx: &Ctx, tools: &Tools, step: &mut Step) -> anyhow::Result<Vec<Program>> {
    let folder = ctx.root.join("target/guest/programs");
    files::make_dir(&folder)?;
    let mut programs = Vec::new();
    for (compiler, command, abi, flag) in modes(tools) {
        for (place, source) in SOURCES {
            let name = format!("{source}-{compiler}-{abi}");
            step.note(&name);
            let program = folder.join(&name);
            let staging = files::staging(&program)?;
            let mut cmd = Command::new(&command);
            cmd.args([flag, "-static", "-O2", "-Wall", "-Wextra"])
                .arg("-I")
                .arg(ctx.root.join("evpoll/include"))
                .arg("-o")
                .arg(&staging)
                .arg(
                    ctx.root
                        .join(format!("selftests/programs/{place}/{source}.c")),
                );
            run_logged(cmd, &ctx.log(&format!("program-{name}")), step)?;
            files::place(&staging, &program)?;
            programs.push(Program::new(format!("programs/{name}"), program));
        }
    }
    Ok(programs)
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
