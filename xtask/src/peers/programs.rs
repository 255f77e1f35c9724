// SPDX-License-Identifier: GPL-2.0
//! Builds the kernel's own test programs: from the tree that both kernels are of, with its own
//! headers, static, and the same files for both.

use super::list::Test;
use super::sources::{self, Program};
use crate::ctx::Ctx;
use crate::files;
use crate::hash::Hash;
use crate::kernel::Build;
use crate::packages;
use crate::progress::{output, run_logged, Step};
use crate::rootfs;
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// As the kernel's own makefiles have it, but static, and without warnings: it is not our code.
const FLAGS: [&str; 9] = [
    "-static",
    "-s",
    "-O2",
    "-w",
    "-pthread",
    "-D_GNU_SOURCE=",
    "-U_FORTIFY_SOURCE",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
];

/// The programs of these tests, for the guest's `/evpoll/peers`. Those that were built from the
/// same source in the same way are reused. `plain` is the build whose tree they are taken from.
pub fn build(ctx: &Ctx, plain: &Build, tests: &[Test]) -> anyhow::Result<Vec<rootfs::Program>> {
    packages::ensure(ctx, &packages::PEERS)?;
    let names: BTreeSet<&str> = tests
        .iter()
        .flat_map(|test| test.programs.iter().copied())
        .collect();
    let mut step = Step::start("building the kernel's own tests");
    let mut make = plain.make();
    make.arg("headers");
    run_logged(make, &plain.log("headers"), &mut step).context("making the kernel's headers")?;
    let headers = plain.objdir.join("usr/include");

    let place = ctx.cache.join("peers");
    let folder = place.join(format!("programs-{}", id(plain, &headers)?));
    if plain.tree.inputs.is_none() {
        // A tree of the user's own can have changed in any place.
        files::remove(&folder)?;
    }
    for old in files::entries(&place)? {
        let name = old.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("programs-") && old != folder {
            files::remove(&old)?;
        }
    }
    files::make_dir(&folder)?;
    let mut programs = Vec::new();
    let mut built = 0;
    for name in names {
        let program = sources::program(name).with_context(|| format!("no program {name}"))?;
        let target = folder.join(name);
        if !target.is_file() {
            step.note(name);
            compile(ctx, program, &plain.tree.dir, &headers, &target, &mut step)?;
            built += 1;
        }
        programs.push(rootfs::Program::new(format!("peers/{name}"), target));
    }
    step.done(format!("{} programs, {built} of them new", programs.len()));
    Ok(programs)
}

fn compile(
    ctx: &Ctx,
    program: &Program,
    tree: &Path,
    headers: &Path,
    target: &Path,
    step: &mut Step,
) -> anyhow::Result<()> {
    let testing = tree.join("tools/testing");
    let folder = testing.join(program.folder);
    let staging = files::staging(target)?;
    let mut gcc = Command::new("gcc");
    gcc.args(FLAGS);
    gcc.arg("-isystem").arg(headers);
    gcc.arg("-I").arg(&folder);
    gcc.arg("-I").arg(testing.join("selftests"));
    gcc.arg("-I").arg(tree.join("tools/include"));
    gcc.arg("-o").arg(&staging);
    match program.sources {
        [] => gcc.arg(folder.join(format!("{}.c", program.name))),
        sources => gcc.args(sources.iter().map(|source| folder.join(source))),
    };
    gcc.args(
        program
            .libraries
            .iter()
            .map(|library| format!("-l{library}")),
    );
    gcc.env("LC_ALL", "C");
    let log = ctx.log(&format!("peers-{}", program.name));
    run_logged(gcc, &log, step)
        .with_context(|| format!("compiling the kernel's own {}", program.name))?;
    files::place(&staging, target)
}

/// What the programs are made from, besides the sources of a released kernel.
fn id(plain: &Build, headers: &Path) -> anyhow::Result<String> {
    let mut hash = Hash::new();
    hash.add(plain.tree.version.to_string())
        .add(format!("{FLAGS:?}"))
        .add(headers.as_os_str().as_encoded_bytes())
        .add(output(Command::new("gcc").arg("--version"))?);
    Ok(hash.hex())
}
