// SPDX-License-Identifier: GPL-2.0
//! The `selftests` package, in a target folder of its own because its flags differ from xtask's.

use super::abis::Tools;
use super::Program;
use crate::ctx::Ctx;
use crate::progress::{run_logged, Step};
use crate::toolchain::plain;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
pub const SELFTESTS: &str = "evpoll-selftests";

/// For the host's own ABI; returns the folder that they are in.
pub fn native(ctx: &Ctx, step: &mut Step) -> anyhow::Result<PathBuf> {
    let mut cargo = cargo(ctx);
    cargo.args(["--bins", "--target", TARGET]);
    cargo
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    run_logged(cargo, &ctx.log("guest-programs"), step)?;
    Ok(folder(ctx, TARGET))
}

/// The selftests for the other ABIs. Nobody ships Rust's library for all of them, so it is built,
/// too: by a compiler that has the source, and is told to allow that although it is a stable one.
pub fn others(ctx: &Ctx, tools: &Tools, step: &mut Step) -> anyhow::Result<Vec<Program>> {
    let Some(user_space) = tools.user_space.as_ref().filter(|_| !tools.abis.is_empty()) else {
        return Ok(vec![]);
    };
    let mut cargo = cargo(ctx);
    cargo.args(["--bin", SELFTESTS, "-Zbuild-std=std,panic_abort"]);
    for abi in &tools.abis {
        cargo.args(["--target", abi.target]);
    }
    plain(&mut cargo)
        .env("RUSTC", &user_space.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", STATIC)
        // Unwinding would be one more library, and a failed test ends its process anyway.
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    run_logged(cargo, &ctx.log("guest-programs-abis"), step)?;
    let program = |abi: &super::abis::Abi| {
        let name = format!("{SELFTESTS}-{}", abi.name);
        Program::new(name, folder(ctx, abi.target).join(SELFTESTS))
    };
    Ok(tools.abis.iter().map(program).collect())
}

const STATIC: &str = "-C target-feature=+crt-static";

fn cargo(ctx: &Ctx) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&ctx.root)
        .args(["build", "--package", "selftests", "--release", "--locked"])
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
