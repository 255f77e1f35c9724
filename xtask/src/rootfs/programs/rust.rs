// SPDX-License-Identifier: GPL-2.0
//! The `selftests` package, the examples of the `evpoll` package and `evhttpd`, in a target folder of
//! its own because its flags differ from xtask's.

use super::abis::Tools;
use super::Program;
use crate::ctx::Ctx;
use crate::files;
use crate::progress::{run_logged, Step};
use crate::toolchain::{plain, UserSpace};
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
pub const SELFTESTS: &str = "evpoll-selftests";

/// For the host's own ABI; returns the folder that they are in.
pub fn native(ctx: &Ctx, step: &mut Step) -> anyhow::Result<PathBuf> {
    let mut cargo = cargo(ctx, "selftests");
    cargo.arg("--bins");
    for_the_host(&mut cargo);
    run_logged(cargo, &ctx.log("guest-programs"), step)?;
    Ok(folder(ctx, TARGET))
}

/// The selftests for the other ABIs. Nobody ships Rust's library for all of them, so it is built,
/// too: by a compiler that has the source, and is told to allow that although it is a stable one.
pub fn others(ctx: &Ctx, tools: &Tools, step: &mut Step) -> anyhow::Result<Vec<Program>> {
    let Some(user_space) = tools.user_space.as_ref().filter(|_| !tools.abis.is_empty()) else {
        return Ok(vec![]);
    };
    let mut cargo = cargo(ctx, "selftests");
    cargo.args(["--bin", SELFTESTS]);
    for_abis(&mut cargo, user_space, tools);
    run_logged(cargo, &ctx.log("guest-programs-abis"), step)?;
    let program = |abi: &super::abis::Abi| {
        let name = format!("{SELFTESTS}-{}", abi.name);
        Program::new(name, folder(ctx, abi.target).join(SELFTESTS))
    };
    Ok(tools.abis.iter().map(program).collect())
}

/// The examples of the `evpoll` package, for all ABIs. Their names are those of the source and the
/// ABI.
pub fn examples(ctx: &Ctx, tools: &Tools, step: &mut Step) -> anyhow::Result<Vec<Program>> {
    let mut native = cargo(ctx, "evpoll");
    native.arg("--examples");
    for_the_host(&mut native);
    run_logged(native, &ctx.log("guest-examples"), step)?;
    let mut targets = vec![("x86_64", TARGET)];
    if let Some(user_space) = tools.user_space.as_ref().filter(|_| !tools.abis.is_empty()) {
        let mut others = cargo(ctx, "evpoll");
        others.arg("--examples");
        for_abis(&mut others, user_space, tools);
        run_logged(others, &ctx.log("guest-examples-abis"), step)?;
        targets.extend(tools.abis.iter().map(|abi| (abi.name, abi.target)));
    }
    let sources = files::entries(&ctx.root.join("evpoll/examples"))?;
    let mut programs = Vec::new();
    for (abi, target) in targets {
        for source in &sources {
            let Some(name) = source.file_stem() else {
                continue;
            };
            let program = folder(ctx, target).join("examples").join(name);
            let name = format!("programs/{}-rust-{abi}", name.to_string_lossy());
            programs.push(Program::new(name, program));
        }
    }
    Ok(programs)
}

/// The server, for the host's own ABI only: the library below it is tested for all of them.
pub fn evhttpd(ctx: &Ctx, step: &mut Step) -> anyhow::Result<Program> {
    let mut cargo = cargo(ctx, "evhttpd");
    cargo.arg("--bins");
    for_the_host(&mut cargo);
    run_logged(cargo, &ctx.log("guest-evhttpd"), step)?;
    let program = folder(ctx, TARGET).join("evhttpd");
    Ok(Program::new("programs/evhttpd", program))
}

fn for_the_host(cargo: &mut Command) {
    cargo
        .args(["--target", TARGET])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
}

fn for_abis(cargo: &mut Command, user_space: &UserSpace, tools: &Tools) {
    cargo.arg("-Zbuild-std=std,panic_abort");
    for abi in &tools.abis {
        cargo.args(["--target", abi.target]);
    }
    plain(cargo)
        .env("RUSTC", &user_space.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", STATIC)
        // Unwinding would be one more library, and a failed test ends its process anyway.
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
}

const STATIC: &str = "-C target-feature=+crt-static";

fn cargo(ctx: &Ctx, package: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&ctx.root)
        .args(["build", "--package", package, "--release", "--locked"])
        .args(["--jobs", &ctx.jobs.to_string()])
        .arg("--target-dir")
        .arg(target(ctx))
        .env("RUSTFLAGS", STATIC);
    cargo
}

fn target(ctx: &Ctx) -> PathBuf {
    ctx.root.join("target/guest")
}

fn folder(ctx: &Ctx, target_name: &str) -> PathBuf {
    target(ctx).join(target_name).join("release")
}
